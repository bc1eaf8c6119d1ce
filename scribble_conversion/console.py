"""How the command lines of this project speak to their user: one sentence for a mistake, a non-zero exit."""

from __future__ import annotations

import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

EXIT_OK = 0
EXIT_USER_ERROR = 1
EXIT_INTERRUPTED = 130
EXIT_CLOSED_PIPE = 141


class UserError(Exception):
    """A mistake of the user's; its text is one sentence that names the file and the cure."""


def run_command(command: Callable[[], int | None]) -> int:
    """Run a command line's body and turn what it raises into an exit status.

    Args:
        command: the body; returns an exit status, or None for success.

    Returns:
        The body's own status; 1 after a ``UserError``, whose text goes to stderr on one line, or where a file or folder
        may not be accessed; 130 after Ctrl-C; 141 where nobody reads stdout any more.

    Raises:
        PermissionError: one that names no file; no sentence could name a cure, so the traceback has to tell.
    """
    _open_standard_streams()
    try:
        status = command() or EXIT_OK
        return status if _flushed() else EXIT_CLOSED_PIPE
    except BrokenPipeError:
        if _flushed() and _is_read():
            raise  # another's pipe
        return EXIT_CLOSED_PIPE
    except UserError as error:
        return _fail(str(error))
    except PermissionError as error:  # up to Python 3.13 even Path.exists raises it, so any question about a path may
        if error.filename is None:
            raise
        return _fail(
            f"{error.filename} cannot be accessed ({error.strerror}); "
            "check its permissions and those of the folders above it"
        )
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _open_standard_streams() -> None:
    """Let what a daemon closed lead nowhere, so that no file of ours is taken for it, and the others take any name."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115, the process keeps it
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name of a file may have what the terminal's encoding lacks
            with suppress(OSError):  # it flushes
                stream.reconfigure(errors="backslashreplace")


def _flushed() -> bool:
    """Whether what was printed has gone; not where whoever read has read enough, as head does, which is no mistake."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # so that Python does not try again at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return False
        raise UserError(f"what was printed cannot be written ({error.strerror}); free some space") from error
    return True


def _is_read() -> bool:
    """Whether somebody reads what is printed, or nobody can tell."""
    try:
        asked = select.poll()
        asked.register(sys.stdout.fileno(), select.POLLOUT)
        return not any(event & select.POLLERR for _, event in asked.poll(0))
    except (AttributeError, OSError, ValueError):  # no such question on Windows, no stdout, or one without a number
        return True


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM raise ``KeyboardInterrupt`` like Ctrl-C does, so that cleaning up happens; then restore it."""
    if current_thread() is not main_thread():  # only there may a signal's handler be set
        yield
        return
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(text: str) -> int:
    print(f"error: {on_one_line(text)}", file=sys.stderr)
    return EXIT_USER_ERROR


def on_one_line(text: str) -> str:
    """White space joined, and control characters, which names of files may have, written as escapes."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)
