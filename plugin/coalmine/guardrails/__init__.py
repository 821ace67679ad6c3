"""Counters, windows, rules and verdicts. Pure."""

from coalmine.guardrails.attempt import (
    FAILURES,
    NO_CONVERSATION,
    Attempt,
    Outcome,
    from_row,
    to_row,
)
from coalmine.guardrails.guardrail import Action, Guardrail, Metric, Rule, Severity
from coalmine.guardrails.judge import Arms, Decide, Finding, Status, Verdict, judge, weigh
from coalmine.guardrails.window import Window

__all__ = [
    "FAILURES",
    "NO_CONVERSATION",
    "Action",
    "Arms",
    "Attempt",
    "Decide",
    "Finding",
    "Guardrail",
    "Metric",
    "Outcome",
    "Rule",
    "Severity",
    "Status",
    "Verdict",
    "Window",
    "from_row",
    "judge",
    "to_row",
    "weigh",
]
