"""docs/simulator.md says of every fault and option what the code says."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from coalmine.rollout import read_policy
from coalmine.sim import HEALTHY
from coalmine.sim.server import parser

PAGE = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text("utf-8")


def rows(heading: str) -> dict[str, str]:
    """First and second column of the table below a heading."""
    below = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1:3] for line in below.splitlines() if line.startswith("| `")]
    return {name.strip(): default.strip() for name, default in cells}


def test_every_fault_is_there_with_its_default() -> None:
    """And none that is not."""
    told = {name.strip("`"): json.loads(value.strip("`")) for name, value in rows("Faults").items()}
    assert told == asdict(HEALTHY)


def test_every_option_is_there_with_its_default() -> None:
    """Defaults of required options and of switches are not told."""
    told = {}
    for names, defaults in rows("Options").items():
        values = re.findall(r"`([^`]*)`", defaults)
        for number, name in enumerate(re.findall(r"`--([a-z-]+)`", names)):
            told[name] = values[number] if number < len(values) else ""
    known = {}
    for action in parser()._actions:
        name = action.option_strings[-1].removeprefix("--")
        if name != "help":
            plain = action.required or action.default is None or action.default is False
            known[name] = "" if plain or action.default == [] else str(action.default)
    assert told == known


@pytest.mark.parametrize("name", ["config.yaml", "coalmine.yaml"])
def test_the_files_of_the_example_can_be_read(name: str) -> None:
    """What people copy must work."""
    text = re.search(rf"cat > {name} <<'END'\n(.*?)\nEND\n", PAGE, re.DOTALL)
    assert text is not None
    if name == "coalmine.yaml":
        assert set(read_policy(text[1], name).services) == {"chat"}
    else:
        groups = [entry["model_name"] for entry in yaml.safe_load(text[1])["model_list"]]
        assert groups == ["chat", "chat.green"]
