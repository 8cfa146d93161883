"""What a machine refuses a program: room, rights, files; each in one line that says what to do.

Any write may meet it. Whoever knows more than that (which folder, what is lost) says so with an error of its own.
"""

from __future__ import annotations

import errno
import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

_MOST_LOG = 256 << 20  # bytes
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there and try again"),
    errno.EFBIG: "raise the largest size of a file there (`ulimit -f`) and try again",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "start in a folder that you may write to, or change whose it is"
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the number of open files (`ulimit -n`) and try again"),
    errno.ENAMETOOLONG: "choose shorter names of files and folders",
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP), "look at the path and what lies there"
    ),
    errno.EIO: "the disk may be broken: look at the system's log",
}


_NAMED = (errno.ENOENT,)  # which say nothing without a name


def told(error: OSError) -> str | None:
    """What the machine refused and what to do about it, in one line; None for an error of another kind."""
    advice = _ADVICE.get(error.errno or 0)
    if advice is None or (error.errno in _NAMED and error.filename is None):
        return None
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror or error}; {advice}"


class LogFile(RotatingFileHandler):
    """A log that a full disk cuts short, without a traceback for every line, and that no stranger's words fill a disk with.

    What is beyond a size goes on in a new file, beside which the one before is kept as NAME.1.
    """

    def __init__(self, filename: str | Path) -> None:  # the name that logging configurations give it by
        super().__init__(filename, maxBytes=_MOST_LOG, backupCount=1)

    def handleError(self, record: logging.LogRecord) -> None:
        """Stay silent where the disk is the reason."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)
