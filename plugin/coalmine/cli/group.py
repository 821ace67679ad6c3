"""How the commands hang together: global options anywhere, and errors as one line and a code."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from coalmine.cli.exits import exit_code
from coalmine.cli.text import one_line
from coalmine.release.errors import CoalmineError

ANYWHERE = ("--url", "--key", "--key-file", "--ca")


class Commands(TyperGroup):
    """The group of all commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the global options also from behind the command, where people write them."""
        return super().parse_args(ctx, hoisted(args))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which they are used."""
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error that we can explain becomes one line and its exit code."""
        try:
            return super().invoke(ctx)
        except CoalmineError as error:
            print(f"coalmine: {one_line(error)}", file=sys.stderr, flush=True)
            raise typer.Exit(exit_code(error)) from None


def hoisted(args: list[str]) -> list[str]:
    """Return `args` with the global options and their values in front; after ``--`` all stays."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(args)
    for arg in left:
        if arg == "--":
            rest += [arg, *left]
        elif arg in ANYWHERE:
            front += [arg, *[value for value in [next(left, None)] if value is not None]]
        elif arg.split("=", 1)[0] in ANYWHERE:
            front.append(arg)
        else:
            rest.append(arg)
    return front + rest
