"""`coalmine resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from coalmine.cli import words
from coalmine.cli.settings import settings


def resume(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="The service.")],
    reason: Annotated[str, typer.Option(help="Why, for the log.", show_default=False)] = "",
) -> None:
    """Go on where the rollout was paused."""
    print(words.outcome(settings(ctx).client().resume(service, reason)))
