"""`status --watch`: look, show, wait; a gateway that restarts is only a line on the screen."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from types import FrameType
from typing import NamedTuple, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from coalmine.cli.client import ClientError, Json, Unreachable
from coalmine.cli.text import one_line

EVERY = 0.5
"""Seconds between two looks."""

PATIENCE = 2.0
"""Seconds for an answer: a gateway that hangs must show soon."""


class Trouble(NamedTuple):
    """No status, why, and since which unix time."""

    error: ClientError
    since: float

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.since, timezone.utc).strftime("%H:%M:%S")
        what = "unreachable" if isinstance(self.error, Unreachable) else "no status"
        return f"{what} since {at} UTC: {one_line(self.error.message)}"


class Screen(Protocol):
    """Where the looks are shown."""

    def show(self, last: Json, trouble: Trouble | None) -> None:
        """Show the last known JSON, and the trouble if the newest look failed."""


def watch(
    gather: Callable[[], Json],
    screen: Screen,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show what `gather` returns, again and again, until a KeyboardInterrupt.

    The first look must succeed, so that a wrong address or key ends at once.

    Args:
        gather: returns the API's JSON.
        screen: where it is shown.
        clock: unix time.
        sleep: waits so many seconds.

    Raises:
        ClientError: from the first look.
    """
    last, trouble = gather(), None
    while True:
        screen.show(last, trouble)
        sleep(EVERY)
        try:
            last, trouble = gather(), None
        except ClientError as error:
            trouble = Trouble(error, trouble.since if trouble else clock())


class Picture:
    """A terminal: one picture that is painted over.

    Args:
        live: rich's live display, already started.
        paint: makes a picture of the JSON, given the unix time.
        clock: unix time.
    """

    def __init__(
        self,
        live: Live,
        paint: Callable[[Json, float], RenderableType],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._live, self._paint, self._clock = live, paint, clock

    def show(self, last: Json, trouble: Trouble | None) -> None:
        """Paint it; what is no longer fresh says so above."""
        frame = self._paint(last, self._clock())
        if trouble:
            frame = Group(Text(f"{trouble}; below is the last known", style="bold red"), frame)
        self._live.update(frame, refresh=True)


class Lines:
    """A file or a pipe: one line for each change of state.

    Args:
        write: prints a line.
        words: says the JSON in lines, without figures that change all the time.
    """

    def __init__(self, write: Callable[[str], None], words: Callable[[Json], list[str]]) -> None:
        self._write, self._words = write, words
        self._before: list[str] = []

    def show(self, last: Json, trouble: Trouble | None) -> None:
        """Print the lines that were not there the last time."""
        lines = [str(trouble)] if trouble else self._words(last)
        for line in lines:
            if line not in self._before:
                self._write(line)
        self._before = lines


def run(
    gather: Callable[[], Json],
    paint: Callable[[Json, float], RenderableType],
    words: Callable[[Json], list[str]],
    console: Console,
) -> None:
    """Watch on `console`, in the main thread; Ctrl-C ends it, and is no failure."""
    with contextlib.suppress(KeyboardInterrupt), _interruptible() as sleep:
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                watch(gather, Picture(live, paint), sleep=sleep)
        else:
            watch(gather, Lines(lambda line: print(line, flush=True), words), sleep=sleep)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[float], None]]:
    """Give a sleep that no Ctrl-C is lost on.

    Python drops a KeyboardInterrupt that is raised in a finalizer, and each look leaves some.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(number, frame)

    def sleep(seconds: float) -> None:
        if interrupted:
            raise KeyboardInterrupt
        time.sleep(seconds)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield sleep
    finally:
        signal.signal(signal.SIGINT, before)
