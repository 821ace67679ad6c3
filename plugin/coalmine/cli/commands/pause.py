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
    """Keep the weight where it is; guardrails go on watching.

    The candidate goes on getting that share of new conversations; to take it away is a rollback.
    """
    print(words.outcome(settings(ctx).client().pause(service, reason)))
