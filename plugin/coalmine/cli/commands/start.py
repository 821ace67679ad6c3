"""`coalmine start`."""

from __future__ import annotations

from typing import Annotated

import typer

from coalmine.cli import words
from coalmine.cli.settings import PROBING, settings


def start(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="The service.")],
    release: Annotated[str, typer.Argument(help="The candidate.")],
    reason: Annotated[str, typer.Option(help="Why, for the log.", show_default=False)] = "",
) -> None:
    """Begin a rollout: the candidate gets the first step's share of new conversations."""
    print(words.outcome(settings(ctx).client(patience=PROBING).start(service, release, reason)))
