"""What the demo shows while it runs: a picture in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from coalmine.cli import view, words
from coalmine.cli.client import Json
from coalmine.cli.demo.engines import RELEASES
from coalmine.cli.demo.traffic import Traffic

LINES_SECONDS, PICTURE_SECONDS = 2.0, 0.25


class Screen:
    """Shows the service as the API tells it, the traffic, and what the story does.

    Args:
        console: where.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._began = time.monotonic()
        self._shown = 0.0

    def __enter__(self) -> Screen:
        self._began = time.monotonic()
        if self._console.is_terminal:
            # The picture goes when the report comes; what was said stays above it.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, what: str) -> None:
        """Tell what happens; it stays to be read."""
        line = Text.assemble((f"{self._elapsed():5.1f} s  ", "dim"), (what, "bold"))
        self._console.print(line, soft_wrap=True)

    def show(self, service: Json | None, traffic: Traffic) -> None:
        """Show how things stand, not more often than the eye needs."""
        if service is None:
            return
        every = PICTURE_SECONDS if self._live is not None else LINES_SECONDS
        if time.monotonic() - self._shown < every:
            return
        self._shown = time.monotonic()
        if self._live is not None:
            self._live.update(self._picture(service, traffic), refresh=True)
        else:
            line = f"{self._elapsed():5.1f} s  {words.sentence(service)} | {figures(traffic)}"
            self._console.print(Text(line), soft_wrap=True)

    def _picture(self, service: Json, traffic: Traffic) -> RenderableType:
        return Group(view.status(service, time.time()), "",
                     Text(f"traffic: {figures(traffic)}", style="bold"))

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def figures(traffic: Traffic) -> str:
    """The traffic in one line."""
    going_on = traffic.releases()
    talks = ", ".join(f"{going_on[release]} on {release}" for release in RELEASES)
    return (
        f"{traffic.rate():.1f} requests/s, {traffic.errors()} errors seen by users, "
        f"conversations: {talks}, {traffic.moves()} moved"
    )
