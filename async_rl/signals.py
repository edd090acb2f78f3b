"""Ctrl-C, SIGTERM and the end of the terminal, as the supervisor gets them."""

import atexit
import math
import os
import signal
import threading
import time
from types import FrameType, TracebackType


def signal_name(number: int) -> str:
    """``SIGKILL``, or ``signal 40`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""By Ctrl-C; by batch systems; by a terminal that is closed or a connection that breaks off. Each of them may reach the
whole process group, and only the launcher acts on it."""

ONE_PRESS_SECONDS = 1.0
"""Two SIGINT within this time are one Ctrl-C: ``timeout -s INT``, and others that start a command and pass signals on
to it, send one to the process and one to its whole group. Whoever listened before does so again only after that time:
a run that has stopped sooner should not meet its end by the second one."""


END_SECONDS = 30.0
"""Patience of a program that ends with a training run, or an evaluation, in another thread."""


def let_others_be_terminated() -> None:
    """For a process that plays: SIGTERM does nothing to it, but ends the programs that its environments start.

    They inherit what is blocked, as `STOPPING` is here, but no handler. System calls of their libraries go on after it.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.siginterrupt(signal.SIGTERM, False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class StopAtOnceError(BaseException):
    """A second Ctrl-C: no more waiting, no checkpoint. As KeyboardInterrupt it is none that others' code may catch."""


class Signals:
    """While it is entered, signals of `STOPPING` are noted in ``received``.

    Only the main thread can listen to them. In another one, a daemon as a rule, the end of the program counts as
    SIGTERM, and waits for a while until this is left again.

    A second Ctrl-C raises `StopAtOnceError`, once, wherever the program is then; see `ONE_PRESS_SECONDS`. A second
    SIGTERM does not: batch systems often send several, to each process and to the whole group, and leave time for the
    checkpoint. SIGHUP stays ignored where it was: by nohup.

    Attributes:
        received: the first one; None before.
        interruptible: whether a second Ctrl-C may still raise.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.interruptible = True
        self._since = -math.inf  # when the first one came
        self._before: dict[signal.Signals, object] = {}
        self._left, self._pid = threading.Event(), os.getpid()

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            by_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            heard = [number for number in STOPPING if not (by_nohup and number == signal.SIGHUP)]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        else:
            atexit.register(self._end_with_program)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.interruptible = False
        time.sleep(max(0.0, self._since + ONE_PRESS_SECONDS - time.monotonic()))
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        atexit.unregister(self._end_with_program)
        self._left.set()

    def _end_with_program(self) -> None:
        if os.getpid() == self._pid:  # not in a forked child
            self.received = self.received or signal.SIGTERM
            self._left.wait(END_SECONDS)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self._since = signal.Signals(number), now
        elif number == signal.SIGINT and now - self._since >= ONE_PRESS_SECONDS and self.interruptible:
            self.interruptible = False
            raise StopAtOnceError
