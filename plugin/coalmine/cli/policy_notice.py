"""What is wrong with the policy file, painted above the services."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coalmine.cli.client import Json
from coalmine.cli.figures import age, moment, number, stamp
from coalmine.cli.text import one_line
from coalmine.cli.words import word


def notice(policy: Json, now: float) -> RenderableType | None:
    """Return what is wrong with the policy file, None when nothing is."""
    if not policy:
        return None
    style = "yellow" if policy.get("in_force") else "bold red"
    since = moment(policy.get("since"))
    told = f"since {stamp(policy['since'])} UTC ({age(policy['since'], now)}): " if since else ""
    parts: list[RenderableType] = [Text(f"{told}{word(policy, 'message')}", style=style)]
    errors = policy.get("errors") or []
    if errors:
        parts.append(_listed(errors, word(policy, "file")))
    more = int(number(policy.get("count")) or 0) - len(errors)
    if more > 0:
        parts.append(Padding(Text(f"and {more} more"), (0, 0, 0, 2)))
    return Group(*parts, Padding(Text(word(policy, "hint")), (0, 0, 0, 2)))


def _listed(errors: list[str], file: str) -> Table:
    """Return the errors with their lines in front, so that a long one wraps below its own words."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for error in errors:
        line, said = _apart(one_line(error), file)
        table.add_row(f"  {line}", Text(said))
    return table


def _apart(error: str, file: str) -> tuple[str, str]:
    """Return an error's line and words. The file's name stands above already."""
    said = error.removeprefix(f"{file}:").strip() if error.startswith(f"{file}:") else error
    line, colon, rest = said.partition(":")
    if said is not error and colon and line.isascii() and line.isdigit():
        return f"line {line}:", rest.strip()
    return "-", said
