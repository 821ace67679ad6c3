"""The action plugin `coalmine_rollback`, where hosts of the lab cannot bring it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .plugins import load

plugin = load("ansible/action_plugins/coalmine_rollback.py")


class Fleet:
    """Gateways that all go back."""

    def rollback(self, service: str, reason: str, to: str | None) -> Any:
        return SimpleNamespace(changed=True, sentence=f"restored: {service} is on v1",
                               to_document=lambda: {"outcome": "restored", "reason": reason})


def rolled_back(result: Path) -> dict[str, Any]:
    task = SimpleNamespace(_task=SimpleNamespace(check_mode=False))
    return plugin.ActionModule.act(task, Fleet(), {
        "service": "chat", "reason": "test", "to": None, "result": str(result)})


def test_the_result_is_written(tmp_path: Path) -> None:
    told = rolled_back(tmp_path / "result.json")
    assert told["msg"] == "restored: chat is on v1"
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "outcome": "restored", "reason": "test"}


def test_a_result_that_cannot_be_written_hides_no_outcome(tmp_path: Path) -> None:
    told = rolled_back(tmp_path / "missing" / "result.json")
    assert told["outcome"] == "restored"
    assert told["msg"].startswith("restored: chat is on v1; the result could not be written to ")
    assert told["msg"].endswith(": No such file or directory")
