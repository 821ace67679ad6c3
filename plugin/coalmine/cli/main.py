"""The `coalmine` command: its global options and its commands, one file each."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from coalmine import __version__
from coalmine.cli.commands.demo import demo
from coalmine.cli.commands.history import history
from coalmine.cli.commands.lint import lint
from coalmine.cli.commands.pause import pause
from coalmine.cli.commands.promote import promote
from coalmine.cli.commands.replay import replay
from coalmine.cli.commands.resume import resume
from coalmine.cli.commands.rollback import rollback
from coalmine.cli.commands.simulate import simulate
from coalmine.cli.commands.start import start
from coalmine.cli.commands.status import status
from coalmine.cli.group import Commands
from coalmine.cli.settings import Settings

# Locals hold the key, so a crash must not print them.
app = typer.Typer(
    name="coalmine",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"coalmine {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    url: Annotated[str, typer.Option(envvar="COALMINE_URL", help="Address of the proxy.")]
    = "http://127.0.0.1:4000",
    key: Annotated[
        str | None,
        typer.Option(
            envvar="COALMINE_KEY",
            help="An operator's token or an admin's key. On the command line everybody on this "
            "host can read it: better the variable or a file.",
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file that holds the key; it goes before --key."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The CA that signed the proxy's certificate."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Give a new LLM release to a slice of the conversations, watch it, and be back at once."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a reason in any script must not end us
    ctx.obj = Settings(url=url, key=key, key_file=key_file, ca=ca)


for command in (
    status, start, pause, resume, promote, rollback, history, lint, replay, simulate, demo,
):
    app.command()(command)

if __name__ == "__main__":
    app(prog_name="coalmine")
