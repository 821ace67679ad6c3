"""YAML into nodes: what is none, and what YAML would take for something else."""

import pytest

from coalmine.rollout import PolicyError, ServicePolicy, read_policy
from coalmine.rollout.yaml_nodes import MAX_DEPTH, MAX_NODES, MAX_TEXT

from .texts import SMALL, service

NO_YAML = {
    "nothing": ("", 1, "the file is empty"),
    "only a comment": ("# nothing yet\n\n", 1, "the file is empty"),
    "only a document's start": ("---\n", 1, "must be a mapping (key: value), found nothing"),
    "a list": ("- a\n", 1, "must be a mapping (key: value), found a list"),
    "text": ("hello\n", 1, "must be a mapping (key: value), found text"),
    "a tab": ("services:\n\tchat: {}\n", 2, "a tab stands where YAML wants spaces"),
    "a second colon": ("services:\n  a: b: c\n", 2, "a second ':' in this line"),
    "a wrong indentation": ("a:\n    b: 1\n   c: 2\n", 3, "the indentation does not fit"),
    "an open quote": ("services:\n  a: 'x\n", 3, "a quote is not closed"),
    "an open bracket": ("services: {a: [1, 2\nb: 3\n", 2, "a bracket or a comma is missing"),
    "a key without a colon": ("services: {}\nstate\nx: 1\n", 3, "a key without ':'"),
    "an unknown alias": ("state: *nothing\n", 1, "an alias (*name) for which there is no anchor"),
    "two documents": ("state: a\n---\nstate: b\n", 2, "a second document begins here"),
    "a sign that YAML keeps for itself": ("state: @home\n", 1, "this is not YAML"),
    "a control character": ("a: 1\nb: \x00\n", 2, "a character that YAML does not allow"),
    "a deep nest": ("a: " + "[" * 5000, 1, f"nested more than {MAX_DEPTH} deep"),
    "a huge file": ("#" * (MAX_TEXT + 1), 1, f"more than {MAX_TEXT} characters"),
    "a million values": ("a: [" + "1," * (MAX_NODES + 10) + "]", 1, f"more than {MAX_NODES}"),
}


@pytest.mark.parametrize(("text", "line", "said"), NO_YAML.values(), ids=NO_YAML)
def test_what_is_no_yaml_mapping_is_refused_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read_policy(text, "coalmine.yaml")
    (problem,) = refused.value.problems
    assert (problem.line, problem.source) == (line, "coalmine.yaml")
    assert said in problem.message


def chat(text: str) -> ServicePolicy:
    return read_policy(text, "coalmine.yaml").services["chat"]


def test_off_needs_no_quotes_although_yaml_takes_it_for_a_boolean() -> None:
    assert chat(service("response_headers: off")).response_headers == "off"


def test_names_that_yaml_takes_for_something_else_stay_what_was_written() -> None:
    policy = read_policy(
        "gateway: 12\n"
        "services:\n"
        "  on:\n"
        "    releases: {1.10: {slot: blue}, 2024-01-31: {slot: green}}\n"
        "    stable: 1.10\n",
        "coalmine.yaml",
    )
    assert policy.gateway == "12"
    assert set(policy.services["on"].releases) == {"1.10", "2024-01-31"}
    assert policy.services["on"].stable == "1.10"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", True), ("True", True), ("yes", True), ("on", True), ("false", False), ("no", False),
     ("off", False)],
)  # fmt: skip
def test_a_boolean_may_be_written_as_people_do(written: str, meant: bool) -> None:
    assert chat(service(f"rescue: {written}")).rescue is meant


def test_anchors_and_merges_work_and_one_may_override_what_was_merged() -> None:
    policy = read_policy(
        SMALL.replace("chat:", "chat: &chat")
        + "    rollout: &plan {bake: 1h, holdback: 5}\n"
        + "  code:\n    <<: *chat\n    rollout: {<<: *plan, bake: 2h}\n",
        "coalmine.yaml",
    )
    code = policy.services["code"]
    assert (code.stable, code.rollout.bake, code.rollout.holdback) == ("v1", 7200.0, 5)
    assert policy.services["chat"].rollout.bake == 3600.0


def test_a_file_may_begin_with_a_byte_order_mark_and_end_lines_as_windows_does() -> None:
    text = "\ufeff" + service("response_headers: off").replace("\n", "\r\n")
    assert chat(text).response_headers == "off"
