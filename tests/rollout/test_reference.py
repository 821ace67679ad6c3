"""The generated reference is up to date, and the public names are the ones agreed on."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

import coalmine.rollout
from coalmine.guardrails import Rule
from coalmine.guardrails.guardrail import Guardrail
from coalmine.rollout import (
    TABLE,
    Operator,
    Policy,
    Record,
    ReleaseEntry,
    RolloutPlan,
    ServicePolicy,
    Sessions,
    Step,
    reference,
)
from coalmine.rollout.reference_texts import EXAMPLE, SMALL
from coalmine.routing import Phase

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "policy.md": reference.policy_page,
    "policy.schema.json": reference.policy_schema,
    "phases.md": reference.phases_page,
}


@pytest.mark.parametrize("name", PAGES)
def test_the_reference_is_not_stale(name: str) -> None:
    said = f"docs/{name} is stale: run python -m coalmine.rollout.reference docs/"
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), said


def test_the_command_writes_all_three(tmp_path: Path) -> None:
    reference.main(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == set(PAGES)


MODELS: list[type[BaseModel]] = [
    Policy, Operator, Record, ServicePolicy, ReleaseEntry, Sessions, RolloutPlan, Step, Guardrail,
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    page = reference.policy_page()
    for name, info in model.model_fields.items():
        assert info.description, name
        assert f"| `{info.alias or name}` |" in page


def test_the_guardrails_that_are_shown_can_be_used() -> None:
    rules = yaml.safe_load(SMALL)
    policy = ServicePolicy.model_validate(
        {"releases": {"v1": {"slot": "blue"}}, "stable": "v1", **rules})
    assert {rule.rule for rule in policy.guardrails} == set(Rule)
    assert SMALL in reference.policy_page()


def test_the_schema_accepts_the_example_and_refuses_an_unknown_key() -> None:
    schema = json.loads(reference.policy_schema())
    example = yaml.safe_load(EXAMPLE.replace("off  ", '"off"'))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(example, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**example, "sevices": {}}, schema)


def test_the_diagram_has_every_phase_and_every_pair_of_the_table() -> None:
    page = reference.phases_page()
    edges = reference.edges()
    assert {(phase, name) for phase, name in edges} == {(p, e.__name__) for p, e in TABLE}
    assert all(edges.values()), "each pair leads somewhere"
    assert all(phase.value in page for phase in Phase)


PUBLIC = {
    "TABLE", "Back", "BakeOver", "Drained", "EraRecord", "Event", "Halt", "Operator", "Pause",
    "Policy", "PolicyError", "Problem", "Promote", "Record", "Refused", "Register", "ReleaseEntry",
    "ReleaseRecord", "Resume", "RollBack", "Rollout", "RolloutPlan", "Service", "ServicePolicy",
    "Sessions", "Start", "Step", "StepOver", "apply", "first_state", "read_policy",
    "routing_plan", "warnings",
}  # fmt: skip


def test_the_public_names_of_the_room_are_these() -> None:
    assert set(coalmine.rollout.__all__) == PUBLIC
    assert all(hasattr(coalmine.rollout, name) for name in PUBLIC)
