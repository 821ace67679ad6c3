"""The demo: a rollout, a release that goes bad and its rollback, on this machine, from nothing.

    set-up (:mod:`stage`, :mod:`engines`, :mod:`proxy`) → :mod:`traffic` and :mod:`story`, shown on
    the :mod:`screen` → :mod:`judgement` of every answer → :mod:`report`

Only this part of the CLI imports the simulator.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from coalmine.cli.demo import report, story
from coalmine.cli.demo.engines import DemoError
from coalmine.cli.demo.judgement import judged
from coalmine.cli.demo.plan import PLANS, plan_of
from coalmine.cli.demo.screen import Screen
from coalmine.cli.demo.stage import Stage
from coalmine.cli.exits import DONE, FAILED, USAGE

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

WIDTH = 100
"""Columns of the report where there is no terminal."""


def run(engines: str, quick: bool) -> int:
    """Run the demo.

    Args:
        engines: `sim` (or `simulated`), or `vllm`.
        quick: spend less time on each step.

    Returns:
        0 when every promise held, 1 when one did not or the demo could not be set up, 130 after
        Ctrl-C.
    """
    plan = plan_of(engines)
    if plan is None:
        print(f"coalmine: engines are {', '.join(PLANS)}, not {engines!r}", file=sys.stderr)
        return USAGE
    plan = plan.hurried(quick)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if not console.is_terminal:
        console.width = WIDTH
    began = time.monotonic()
    stage = Stage(plan)
    with _ending_on_signals():
        try:
            stage.set_up(lambda line: _say(console, line, began))
            ready = time.monotonic()
            screen = Screen(console)
            with screen:
                turns, facts = asyncio.run(story.play(stage, plan, screen))
            findings = judged(turns, facts)
            report.show(console, findings, facts, took=time.monotonic() - ready,
                        set_up=ready - began)
            stage.failed = not findings.held
            return DONE if findings.held else FAILED
        except DemoError as error:
            print(f"coalmine: {error}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt:
            stage.failed = False
            print("stopped", file=sys.stderr)
            return INTERRUPTED
        finally:
            _quietly(stage)


def _quietly(stage: Stage) -> None:
    """End everything; a second Ctrl-C does not leave half of it behind."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    tail = stage.proxy.tail() if stage.failed else ""
    stage.take_down()
    if tail:
        print(f"\nthe end of the proxy's log:\n{tail}", file=sys.stderr)
    if stage.folder.exists():
        print(f"everything that was written is kept in {stage.folder}", file=sys.stderr)


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """A closed terminal and a SIGTERM end the demo as Ctrl-C does."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(console: Console, line: str, began: float) -> None:
    console.print(f"{time.monotonic() - began:5.1f} s  {line}", markup=False)
