"""Reading a policy file: the policy, or what is printed about it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalmine.guardrails.guardrail import DEFAULT_GUARDRAILS, Guardrail
from coalmine.rollout import (
    Policy,
    PolicyError,
    ServicePolicy,
    read_policy,
    warnings,
)
from coalmine.rollout.reference_texts import EXAMPLE

from .texts import SMALL, service


def chat(text: str) -> ServicePolicy:
    return read_policy(text, "coalmine.yaml").services["chat"]


def test_an_error_prints_one_line_for_each_problem() -> None:
    with pytest.raises(PolicyError) as refused:
        read_policy("a: 1\nb: 2\n", "/etc/coalmine.yaml")
    assert str(refused.value).splitlines() == [str(p) for p in refused.value.problems]
    assert str(refused.value).startswith("/etc/coalmine.yaml:1: a: is not known")
    assert refused.value.code == "policy"


def test_the_examples_policy_is_what_the_contract_says() -> None:
    policy = read_policy(EXAMPLE, "coalmine.yaml")
    service = policy.services["chat"]
    assert policy.operators[0].may == ("read", "pause", "rollback")
    assert [step.weight for step in service.rollout.steps] == [1, 5, 25, 100]
    assert [step.soak for step in service.rollout.steps] == [600, 1800, 3600, 0]
    assert service.rollout.steps[2].approve
    assert (service.rollout.bake, service.rollout.holdback) == (86400, 2)
    assert [g.name for g in service.guardrails] == ["errors", "hard-errors", "ttft-p99", "ttft-p95"]
    assert service.guardrails[2].slo == pytest.approx(0.8)
    assert service.response_headers == "off"
    assert not warnings(policy)


def test_nothing_is_recorded_unless_the_policy_says_so() -> None:
    assert read_policy(SMALL, "coalmine.yaml").record is None
    recorded = read_policy(SMALL + "record: {}\n", "coalmine.yaml").record
    assert recorded is not None
    assert (recorded.folder, recorded.keep, recorded.max_bytes) == ("events", 7 * 86400, 10**9)


def test_what_is_left_out_has_the_defaults_of_the_contract() -> None:
    service = chat(SMALL)
    assert (service.rescue, service.stale_after, service.drain_timeout, service.give_up) == (
        True, 3.0, 600.0, 3600.0,
    )  # fmt: skip
    assert (service.response_headers, service.unit) == ("all", "conversation")
    assert (service.sessions.grace, service.sessions.ttl, service.sessions.on_rollback) == (
        60.0, 86400.0, "move",
    )  # fmt: skip
    assert service.guardrails == DEFAULT_GUARDRAILS
    one = Guardrail.model_validate({"name": "a", "metric": "error_rate", "max": 0.1})
    assert (one.min_conversations, one.timebox, one.dry_run, one.alone) == (
        30,
        1200.0,
        False,
        False,
    )


def test_a_policy_read_from_a_file_is_the_one_that_pydantic_makes() -> None:
    read = read_policy(service("rollout: {bake: 1h}"), "f")
    made = Policy.model_validate(
        {
            "services": {
                "chat": {
                    "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}},
                    "stable": "v1",
                    "rollout": {"bake": 3600},
                }
            }
        }
    )
    assert read == made
    assert Policy.model_validate_json(read.model_dump_json()) == made


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text("{}[]&*!|>'\"%@`#-?:, \nab<", max_size=40))
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    for whole in (text, service(text), SMALL + "    rollout: " + text):
        try:
            assert isinstance(read_policy(whole, "f"), Policy)
        except PolicyError as refused:
            assert all(p.line >= 1 for p in refused.problems)  # noqa: PT017
