"""What is legal in a policy but doubtful."""

import pytest

from coalmine.rollout import RolloutPlan, read_policy, warnings

from .texts import SMALL, service


def doubts(text: str) -> list[tuple[int, str]]:
    policy = read_policy(text, "f")
    assert [p.path for p in warnings(policy)] == [p.path for p in warnings(policy, text, "f")]
    assert all(p.line == 0 for p in warnings(policy))
    return [(p.line, p.path) for p in warnings(policy, text, "f")]


DOUBTFUL = {
    "no services": ("state: sqlite:///a.db\n", (1, "services")),
    "one release": (SMALL.replace("      v2: {slot: green}\n", ""), (3, "services.chat.releases")),
    "a last step below 100": (
        service("rollout:\n  steps:\n    - {weight: 1}\n    - {weight: 50}"),
        (10, "services.chat.rollout.steps[1].weight"),
    ),
    "no bake": (service("rollout:\n  bake: 0"), (8, "services.chat.rollout.bake")),
    "no guardrail": (service("guardrails: []"), (7, "services.chat.guardrails")),
    "none that rolls back": (
        service("guardrails:\n  - {name: a, metric: error_rate, max: 0.1, action: pause}"),
        (7, "services.chat.guardrails"),
    ),
    "one that rolls back, but is dry": (
        service("guardrails:\n  - {name: a, metric: error_rate, max: 0.1, dry_run: true}"),
        (7, "services.chat.guardrails"),
    ),
    "nothing to compare with": (
        service("rollout:\n  holdback: 0"),
        (8, "services.chat.rollout.holdback"),
    ),
    **{what: (service(f"guardrails:\n  - {{name: e, metric: error_rate, max: 0.5}}\n"
                      f"  - {{name: a, metric: {guardrail}}}"),
              (9, f"services.chat.guardrails[1].{field}"))
       for what, guardrail, field in (
           ("milliseconds", "ttft_p99, max: 800", "max"),
           ("the objective in milliseconds", "ttft_p99, slo: 800, max_slo_ratio: 2", "slo"),
           ("a score that is too good", "score, max: 0.8", "max"),
           ("too many that are answered", "availability, max: 0.99", "max"),
           ("a limit that acts alone anyway", "error_rate, max: 0.1, alone: true", "alone"),
           ("a burn rate of one window", "error_rate, slo: 0.999, max_burn_rate: 14", "for"),
       )},
    "nothing to prove": (
        service("rollout:\n  steps:\n    - {weight: 5}\n"
                "    - {weight: 100, require: evidence}"),
        (10, "services.chat.rollout.steps[1].require"),
    ),
    "may finish": (
        service("sessions: {on_rollback: finish}"),
        (7, "services.chat.sessions.on_rollback"),
    ),
    "no grace": (service("sessions: {grace: 0}"), (7, "services.chat.sessions.grace")),
}


@pytest.mark.parametrize(("text", "found"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_is_legal_but_doubtful_is_told_with_its_line(
    text: str, found: tuple[int, str]
) -> None:
    assert doubts(text) == [found]


def test_a_policy_of_defaults_is_not_doubtful() -> None:
    assert doubts(SMALL) == []
    assert RolloutPlan().steps[-1].weight == 100


def test_a_last_step_below_100_says_what_the_bake_gives() -> None:
    text = service("rollout: {steps: [{weight: 50}], holdback: 5}")
    (found,) = warnings(read_policy(text, "f"), text, "f")
    assert "the last step is 50, then the bake gives 95 at once" in found.message


@pytest.mark.parametrize(("field", "said"), [
    ("action: pause", "none rolls back before a pause has gone unanswered for its timebox"),
    ("dry_run: true", "none acts")])
def test_guardrails_that_roll_nothing_back_say_what_is_left(field: str, said: str) -> None:
    text = service(f"guardrails:\n  - {{name: a, metric: error_rate, max: 0.1, {field}}}")
    (found,) = warnings(read_policy(text, "f"), text, "f")
    assert said in found.message
