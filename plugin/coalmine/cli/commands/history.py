"""`coalmine history`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from coalmine.cli import log
from coalmine.cli.settings import settings


def history(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="The service.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the API's JSON as it is.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="NUMBER", help="Only the newest so many; left out: all."),
    ] = None,
) -> None:
    """Show every change: when, who, what, and why; the newest last."""
    found = settings(ctx).client().history(service)
    if limit is not None:
        found = {**found, "entries": log.newest_last(found["entries"])[-limit:]}
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        Console(highlight=False).print(log.history(found["entries"]))
