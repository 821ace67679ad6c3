"""`coalmine replay`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from coalmine.cli.files import read_text
from coalmine.cli.one_service import one_service
from coalmine.cli.replay_view import faults_line, finding_lines, moment_line, result_line, why_none
from coalmine.record.events import Reader
from coalmine.record.replay import Replay
from coalmine.record.sources import read_source
from coalmine.release import CoalmineError
from coalmine.rollout.policy_file import read_policy


def replay(
    policy: Annotated[Path, typer.Argument(help="The policy to try, coalmine.yaml.")],
    events: Annotated[
        str, typer.Argument(help="Recorded events: a file, a folder of them, or - for stdin.")
    ],
    service: Annotated[
        str | None, typer.Option(metavar="NAME", help="The service; the only one by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with the first decision, one line of JSON.")
    ] = False,
) -> None:
    """Would this policy have stopped that rollout? Prints what would have happened, and why."""
    name, rules = one_service(read_policy(read_text(policy), str(policy)), service)
    others = [release for release in rules.releases if release != rules.stable]
    candidate = others[0] if len(others) == 1 else None
    reader = Reader(name, stable=rules.stable, candidate=candidate)
    run = Replay(name, rules, candidate)
    for moment in run.run(reader.events(read_source(events))):
        print(moment_line(moment, run.began))
        if moment.what == "end":
            print(*finding_lines(moment), sep="\n")
    if reader.faults:
        print(faults_line(reader.faults))
    found = run.result()
    print(json.dumps(found.to_document()) if as_json else result_line(found))
    if run.trial is None or not any(run.trial.attempts.values()):
        raise CoalmineError("no event could be judged",
                            why_none(reader.strangers, list(rules.releases), rules.stable))
