"""`coalmine demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from coalmine.release.errors import CoalmineError


def demo(
    engines: Annotated[
        str, typer.Option(help="What answers: `sim`ulated engines, or real `vllm`.")
    ] = "sim",
    quick: Annotated[bool, typer.Option("--quick", help="Shorter, for a first look.")] = False,
) -> None:
    """Show a bad release being caught and rolled back, on this machine, from nothing."""
    try:
        # What it needs is an extra that most hosts do not have.
        from coalmine.cli.demo import run
    except ModuleNotFoundError as error:
        raise CoalmineError(
            f"the demo needs {error.name}, which is not installed",
            "pip install 'coalmine[gateway,sim]'",
        ) from None
    raise typer.Exit(run(engines=engines, quick=quick))
