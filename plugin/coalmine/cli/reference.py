"""The CLI's reference page, made from the commands themselves.

``python -m coalmine.cli.reference docs/`` writes ``docs/cli.md``; a test fails when it is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from coalmine.cli.exits import MEANINGS
from coalmine.cli.main import app

PAGE = "cli.md"
HEAD = """\
# The `coalmine` command

*Made from the command itself by `python -m coalmine.cli.reference docs/`; do not edit.*

It asks the HTTP API of the proxy that has Coalmine loaded. Its address and key come from
`COALMINE_URL` and `COALMINE_KEY`, or from options, which may stand before or after the command.
The key goes into a header and nowhere else: not after a redirect, not into a message.
"""


def text() -> str:
    """Return the page."""
    root: Any = get_command(app)
    return "\n".join([HEAD, *_options("Global options", root), *_exits(), *_commands(root)])


def _commands(root: Any) -> Iterator[str]:
    for name, command in root.commands.items():
        yield f"## {name}\n"
        yield f"```\n{_usage(name, command)}\n```\n"
        yield f"{command.help}\n"
        yield from _arguments(command)
        yield from _options("", command)


def _usage(name: str, command: Any) -> str:
    words = ["coalmine", name]
    for one in _of(command, "argument"):
        word = _value(one)
        words.append(word if one.required else f"[{word}]")
    for one in _of(command, "option"):
        word = one.opts[0] + ("" if one.is_flag else f" {_value(one)}")
        words.append(word if one.required else f"[{word}]")
    return " ".join(words)


def _arguments(command: Any) -> Iterator[str]:
    found = _of(command, "argument")
    if found:
        yield "| argument | meaning |\n| --- | --- |"
        for one in found:
            yield f"| `{_value(one)}` | {one.help} |"
        yield ""


def _options(title: str, command: Any) -> Iterator[str]:
    found = _of(command, "option")
    if not found:
        return
    if title:
        yield f"## {title}\n"
    yield "| option | meaning | default |\n| --- | --- | --- |"
    for one in found:
        value = "" if one.is_flag else f" {_value(one)}"
        default = f"`{one.default}`" if one.default not in (None, False, "") else ""
        if one.envvar:
            default = f"`{one.envvar}`" + (f", else {default}" if default else "")
        yield f"| `{one.opts[0]}{value}` | {one.help} | {'required' if one.required else default} |"
    yield ""


def _of(command: Any, kind: str) -> list[Any]:
    return [
        one for one in command.params
        if one.param_type_name == kind and "--help" not in one.opts
    ]


def _value(one: Any) -> str:
    """The placeholder for a value: an argument's name, an option's kind."""
    if one.param_type_name == "argument":
        return str(one.name).upper()
    return str(one.metavar or "TEXT")


def _exits() -> Iterator[str]:
    yield "## Exit codes\n\n| code | meaning |\n| --- | --- |"
    for code, meaning in MEANINGS.items():
        yield f"| {code} | {meaning} |"
    yield ""


def main(arguments: list[str]) -> int:
    """Write the page into the folder that is named."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m coalmine.cli.reference FOLDER", file=sys.stderr)
        return 2
    page = Path(arguments[0]) / PAGE
    page.write_text(text(), encoding="utf-8")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
