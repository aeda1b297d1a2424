"""Ctrl-C in a call of the client: put off to where it harms nobody.

Python raises KeyboardInterrupt wherever its main thread happens to be. In the middle of a call that may be between two
things that belong together, and what is lost there may be another call's: a request that is neither waiting nor sent, a
lock that nobody gives back. So for the length of a call Python's own handler of SIGINT is replaced, as asyncio does.
What it would have raised is raised where the call waits, and at the latest at its end; or at once, where Ctrl-C comes a
second time. A handler that somebody else has installed stays.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

# The functions in C: the wrappers of `signal` make enums, which takes longer than the rest of a small call here.
_in_c = getattr(signal, "_signal", signal)
_set_handler, _handler_of = _in_c.signal, _in_c.getsignal
_INTERRUPT, _PYTHONS_OWN = int(signal.SIGINT), signal.default_int_handler


class _PutOff:
    """What has come and was not raised yet, and how to wake who waits. For the main thread only."""

    __slots__ = ("interrupted", "wake")

    def __init__(self) -> None:
        self.interrupted = False
        self.wake: Callable[[], None] | None = None


_put_off = _PutOff()


class Undisturbed:
    """A call that Ctrl-C does not interrupt but at a `raise_interrupt`, or at the end. For a ``with`` statement.

    `wake` ends the wait that the call may be in. Within another such call that is all it is for, and in threads other
    than the main one, which Ctrl-C does not interrupt, this does nothing.
    """

    __slots__ = ("_before", "_outermost", "_wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._outermost = False
        self._before: Callable[[], None] | None = None

    def __enter__(self) -> None:
        if not _in_main_thread():
            return
        self._before, _put_off.wake = _put_off.wake, self._wake
        if _handler_of(_INTERRUPT) is _PYTHONS_OWN:
            _put_off.interrupted, self._outermost = False, True
            _set_handler(_INTERRUPT, _note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not _in_main_thread():
            return
        _put_off.wake = self._before
        if self._outermost:
            _set_handler(_INTERRUPT, _PYTHONS_OWN)
            raise_interrupt()


def raise_interrupt() -> None:
    """Raise what was put off, if anything was: here nothing is half done.

    Raises
    ------
    KeyboardInterrupt
    """
    if _put_off.interrupted and _in_main_thread():
        _put_off.interrupted = False
        raise KeyboardInterrupt


def _note(number: int, frame: FrameType | None) -> None:
    if _put_off.interrupted:
        _PYTHONS_OWN(number, frame)
    _put_off.interrupted = True
    if _put_off.wake is not None:
        _put_off.wake()


def _in_main_thread() -> bool:
    return threading.get_ident() == threading.main_thread().ident
