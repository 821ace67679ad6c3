"""`coalmine simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coalmine.cli.files import write_lines
from coalmine.release.errors import CoalmineError


def simulate(
    scenario: Annotated[
        str | None, typer.Argument(help="What is wrong with the candidate; --list tells them.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    rate: Annotated[float, typer.Option(metavar="NUMBER", help="Requests per second.")] = 10.0,
    weight: Annotated[
        float, typer.Option(metavar="PERCENT", help="The candidate's share of conversations.")
    ] = 5.0,
    hours: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="How long; left out: the scenario's, mostly 24."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of all that is random.")] = 1,
    onset: Annotated[
        float, typer.Option(metavar="SECONDS", help="When the candidate begins to be bad.")
    ] = 0.0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Left out: stdout.")] = None,
) -> None:
    """Print a canary's traffic as JSON lines, one for each attempt and each conversation's end."""
    # It takes longer to import than most commands to run.
    from coalmine.sim.conversations import events
    from coalmine.sim.scenarios import NAMED, named

    if listing:
        for each in NAMED.values():
            print(f"{each.name:12} {each.about}")
        return
    if hours is not None and not hours > 0:
        raise CoalmineError(f"--hours {hours:g}: give a number, more than 0")
    try:
        traffic = named(scenario or "", rate=rate, weight=weight, seed=seed, onset=onset,
                        seconds=None if hours is None else hours * 3600)
    except ValueError as error:
        raise CoalmineError(str(error)) from None
    write_lines(events(traffic), out)
