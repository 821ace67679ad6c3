"""`coalmine lint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coalmine.cli.files import read_text, read_yaml
from coalmine.cli.litellm_config import check
from coalmine.cli.text import one_line
from coalmine.release.errors import CoalmineError
from coalmine.rollout.policy_file import PolicyError, read_policy, warnings


def lint(
    file: Annotated[Path, typer.Argument(help="The policy, coalmine.yaml.")],
    litellm: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="LiteLLM's config, to see whether both fit together."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Let a warning fail too: exit code 1, for CI.")
    ] = False,
) -> None:
    """Check a policy file: every error at once, with its line.

    Without errors it tells what is doubtful, as warnings, which fail with --strict only.
    """
    text = read_text(file)
    try:
        policy = read_policy(text, str(file))
    except PolicyError as error:
        for problem in error.problems:
            print(one_line(problem, limit=2000))
        count = len(error.problems)
        raise CoalmineError(f"{file}: {count} error{'s' * (count != 1)}") from None
    found = [str(doubt) for doubt in warnings(policy, text, str(file))]
    if litellm:
        found += [f"{litellm}: {warning}" for warning in check(policy, read_yaml(litellm))]
    for line in found:
        print(f"warning: {one_line(line, limit=2000)}")
    services = ", ".join(policy.services) or "no services"
    counted = f"{len(found)} warning{'s' * (len(found) != 1)}"
    if strict and found:
        raise CoalmineError(f"{file}: no errors, but {counted}", "--strict lets none pass")
    print(f"{file}: {'no errors' if found else 'fine'} ({services}), {counted}")
