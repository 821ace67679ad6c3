"""`coalmine rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from coalmine.cli import words
from coalmine.cli.settings import settings


def rollback(
    ctx: typer.Context,
    service: Annotated[str, typer.Argument(help="The service.")],
    reason: Annotated[str, typer.Option(help="Why, for the log and the incident record.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE",
            help="Of an idle service: the release to make stable again; left out, the one before. "
            "A rollout goes back to its stable release, and needs no --to.",
        ),
    ] = None,
) -> None:
    """Send every new request to stable again, at once."""
    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    after = settings(ctx).client().rollback(service, reason, to)
    if after.get("changed") is False:
        print(f"already on {words.word(after, 'stable')}, nothing changed")
    else:
        print(words.outcome(after))
