"""Says how a playbook ended, as the very last line: after Ansible's own recap."""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: coalmine_outcome
type: aggregate
short_description: The outcome of a playbook as the last line
description:
  - Prints after the recap what C(coalmine_rollback) said, or what was kept last as the fact
    C(coalmine_outcome), on any host, also when the playbook ended early. Nothing where there was
    neither.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible ships no types
    """See DOCUMENTATION."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "coalmine_outcome"

    def __init__(self) -> None:
        super().__init__()
        self._said = ""

    def v2_runner_on_ok(self, result: Any) -> None:
        """Remember what was said."""
        if result._task.action == "coalmine_rollback":
            self._said = str(result._result.get("msg", ""))
        facts = result._result.get("ansible_facts", {})
        self._said = str(facts.get("coalmine_outcome", self._said))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Say it again."""
        if self._said:
            self._display.display(f"coalmine: {self._said}")
