"""Files that somebody else gave: of bounded size, and files, not what else a name may lead to.

A folder that was unpacked may hold a link to a file of its reader's, a pipe that is never written to, a device without an end,
or a file as large as the disk. So nothing in it is reached through a link, and nothing but a file is opened for longer
than it takes to see what it is.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fl.errors import FairshareError

_LINKED = (errno.ELOOP, errno.EMLINK)  # what O_NOFOLLOW says of a link, by system
_AT_ONCE = 1 << 24  # bytes of a file
# Without O_NONBLOCK to open a pipe waits for whoever writes to it.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0)


class Unreadable(FairshareError):
    """A file is not there, is not a file, or is too large."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}; ask for it again"


class Absent(Unreadable):
    """There is nothing of that name."""

    def __init__(self, path: str, problem: str = "is not there") -> None:
        super().__init__(path, problem)


class Outside(Unreadable):
    """A name leads out of its folder, by itself or through a link."""


def expanded(path: Path | str) -> Path:
    """A path with the home folder where ~ stands for it; where there is no such home, ~ is a character like any other."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_file(path: Path, *, most: int) -> bytes:
    """A file that this machine's owner named: links to it are meant, what lies there need not be a file.

    Args:
        most: Bytes that it may have.
    Raises: Absent; Unreadable.
    """
    try:
        descriptor = os.open(path, _READ)
    except (OSError, ValueError) as error:
        raise _refusal(str(path), error) from None
    return _content(descriptor, path=str(path), most=most)


@dataclass(frozen=True)
class GivenFolder:
    """A folder of somebody else's. The folder itself may be a link: its reader named it."""

    path: Path

    def read(self, name: str, *, most: int) -> bytes:
        """A file in it.

        Args:
            name: With "/" between its parts.
            most: Bytes that it may have.
        Raises: Absent; Outside for a name or a link that leads elsewhere; Unreadable for a pipe, a device, a larger file.
        """
        descriptor, told = self._open(name)
        return _content(descriptor, path=told, most=most)

    def has(self, name: str) -> bool:
        """Whether there is a file of that name that `read` would read."""
        try:
            descriptor, _ = self._open(name)
        except Unreadable:
            return False
        try:
            return stat.S_ISREG(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> tuple[int, str]:
        told = str(self.path / name.replace("\0", "?"))
        if not is_inside(name):
            raise Outside(path=told, problem="lies outside of its folder")
        *folders, last = PurePosixPath(name).parts
        at = None
        try:
            at = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for part in folders:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                os.close(at)
                at = inner
            return os.open(last, _READ | os.O_NOFOLLOW, dir_fd=at), told
        except (OSError, ValueError) as error:
            if at is not None and isinstance(error, OSError) and error.errno in (*_LINKED, errno.ENOTDIR):
                raise Outside(path=told, problem="is a link, or lies behind one; links are not followed") from None
            raise _refusal(told, error) from None
        finally:
            if at is not None:
                os.close(at)


def is_inside(name: str) -> bool:
    """Whether a name stays in its folder, as far as a text can tell."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _content(descriptor: int, *, path: str, most: int) -> bytes:
    parts, left = [], most + 1
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Unreadable(path=path, problem=f"is {_kind(found.st_mode)}, and a file is expected")
        if found.st_size > most:
            raise Unreadable(path=path, problem=f"has {found.st_size:,} bytes, {most:,} are the most")
        # Not to the end at once: it may grow while it is read.
        while left and (part := os.read(descriptor, min(left, _AT_ONCE))):
            parts.append(part)
            left -= len(part)
    except OSError as error:
        raise _refusal(path, error) from None
    finally:
        os.close(descriptor)
    if not left:
        raise Unreadable(path=path, problem=f"has more than {most:,} bytes")
    return b"".join(parts)


def _refusal(path: str, error: OSError | ValueError) -> Unreadable:
    if isinstance(error, FileNotFoundError):
        return Absent(path=path)
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return Unreadable(path=path, problem="is a pipe, a socket or a device, and a file is expected")
    return Unreadable(path=path, problem=f"cannot be read ({getattr(error, 'strerror', None) or error})")


def _kind(mode: int) -> str:
    for kind, test in (("a folder", stat.S_ISDIR), ("a pipe", stat.S_ISFIFO), ("a socket", stat.S_ISSOCK)):
        if test(mode):
            return kind
    return "a device"
