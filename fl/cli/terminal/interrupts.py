"""A Ctrl-C that falls into a finalizer or a callback is not lost: Python drops it there, and it is asked for again."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import MappingProxyType

_SIGNALS = MappingProxyType({KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM})
_PAUSE = 0.05  # seconds; the finalizer has ended by then, and if another one has begun, it is asked for once more


def ask_again_when_dropped() -> None:
    """Send a dropped Ctrl-C or SIGTERM to this process once more, until code that can end receives it.

    Exceptions cannot leave a finalizer (`__del__`, a weak reference's callback); Python prints and forgets them, and a run
    that was to be stopped would go on. Ray's and torch's objects have enough finalizers for one Ctrl-C in six to be lost.
    """
    before = sys.unraisablehook
    if before.__module__ == __name__:
        return  # a second command in this process

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        number = _SIGNALS.get(dropped.exc_type)
        if number is None or sys.is_finalizing():
            before(dropped)
            return
        again = threading.Timer(_PAUSE, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
