"""Counters, windows, rules and verdicts. Pure."""

from coalmine.guardrails.attempt import (
    FAILURES,
    NO_CONVERSATION,
    Attempt,
    Outcome,
    from_row,
    to_row,
)
from coalmine.guardrails.guardrail import Action, Guardrail, Metric, Severity
from coalmine.guardrails.judge import Decide, Finding, Status, Verdict, judge, weigh
from coalmine.guardrails.window import Window

__all__ = [
    "FAILURES",
    "NO_CONVERSATION",
    "Action",
    "Attempt",
    "Decide",
    "Finding",
    "Guardrail",
    "Metric",
    "Outcome",
    "Severity",
    "Status",
    "Verdict",
    "Window",
    "from_row",
    "judge",
    "to_row",
    "weigh",
]
