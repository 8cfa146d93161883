"""The SuperNode's log, of a bounded size: Flower logs words of the coordinator's, and a message may have megabytes of them."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

MOST_LOG = 32 << 20  # bytes of one start, and of what is kept of those before
_LONGEST = 2000  # characters of a record, and of the end of its traceback


class Bounded(logging.Filter):
    """Cuts long records, and lets no more pass than so many characters in all.

    Args:
        most: Characters.
    """

    def __init__(self, most: int = MOST_LOG) -> None:
        super().__init__()
        self._left = most

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut the record; False where nothing is logged any more."""
        if self._left < 0:
            return False
        try:
            text = record.getMessage()
        except Exception as error:  # of words that are not those that the record was made for
            text = f"a record that cannot be written ({type(error).__name__})"
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)[-_LONGEST:]
        self._left -= min(len(text), _LONGEST) + len(record.exc_text or "") + 100
        if self._left < 0:
            text = "so much was logged that nothing more is"
        record.msg, record.args = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…", ()
        return True


def bound_log() -> None:
    """Bound what this process logs through Flower's logger."""
    bounded = Bounded()
    for handler in logging.getLogger("flwr").handlers:
        handler.addFilter(bounded)


def make_room(log: Path) -> None:
    """Put a log that has grown aside, in place of the one that was put aside before."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > MOST_LOG:
            log.replace(log.with_name(f"{log.name}.1"))
