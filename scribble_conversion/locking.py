"""One process at a time, by a lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType

from scribble_conversion.parallel import interrupts_deferred

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None


class LockedError(Exception):
    """Another process holds the lock."""


@contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold a lock file, which is removed at the end.

    Args:
        path: the file, in an existing folder.

    Yields:
        Whether this is a real lock; on systems and file systems that have none everybody goes ahead.

    Raises:
        LockedError: if another process holds it.
        OSError: if the file cannot be made.
    """
    if fcntl is None:
        yield False
        return
    with ExitStack() as stack:
        with interrupts_deferred():
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, descriptor)
            locked = _lock(descriptor, path)
            stack.callback(_remove, path)  # before the lock goes, so that nobody's file but this one is removed
        yield locked


def _remove(path: Path) -> None:
    with interrupts_deferred():
        path.unlink(missing_ok=True)


def _lock(descriptor: int, path: Path) -> bool:
    assert fcntl is not None, "the caller has looked"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(str(path)) from error
    except OSError:  # no locks here
        return False
    try:
        same = os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        same = False
    if not same:  # the holder before has just removed the file, and somebody may have made it anew
        raise LockedError(str(path))
    return True
