"""`coalmine pause`."""

from __future__ import annotations

from typing import Annotated

import typer

from coalmine.cli import words
from coalmine.cli.settings import settings


def pause(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="The service.")],
    reason: Annotated[str, typer.Option(help="Why, for the log.", show_default=False)] = "",
) -> None:
    """Keep the weight where it is; guardrails go on watching."""
    print(words.outcome(settings(ctx).client().pause(service, reason)))
