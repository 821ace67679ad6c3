"""`coalmine promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from coalmine.cli import words
from coalmine.cli.settings import settings


def promote(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="The service.")],
    full: Annotated[bool, typer.Option("--full", help="Go to the last step at once.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the log.", show_default=False)] = "",
) -> None:
    """Go to the next step; from the last one to the bake; in the bake, end it.

    At once: it does not wait for the step's time, its minimum of conversations, its approval or
    data. Guardrails go on judging. In a pause it is refused: resume first.
    """
    print(words.outcome(settings(ctx).client().promote(service, full, reason)))
