"""`coalmine status`."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from coalmine.cli import view, watch, words
from coalmine.cli.client import READ_TIMEOUT
from coalmine.cli.seen import demand_policy, seen
from coalmine.cli.settings import settings


def status(
    ctx: typer.Context,
    service: Annotated[str | None, typer.Argument(help="The service; left out: all.")] = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Keep looking, twice a second, until Ctrl-C.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the API's JSON as it is.")
    ] = False,
) -> None:
    """Show where a service stands: phase, arms, guardrails, workers.

    Exit code 1 while a policy was written and none is in force, because of its errors at the
    proxy's start. A policy that only waits for a restart, and one whose errors came later, are told
    above the services, with exit code 0.
    """
    if watching and as_json:
        raise typer.BadParameter("--watch and --json do not go together")
    client = settings(ctx).client(patience=watch.PATIENCE if watching else READ_TIMEOUT)
    gather = partial(client.service, service) if service else client.services
    console = Console(highlight=False)
    if watching:
        watch.run(partial(seen, client, gather), view.status, words.sentences, console)
        return
    if as_json:
        found = gather()
        print(json.dumps(found, indent=2))
    else:
        found = seen(client, gather)
        console.print(view.status(found, time.time()))
    demand_policy(found)
