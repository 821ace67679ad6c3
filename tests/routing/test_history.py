"""What a body says about its conversation, with the bodies of real clients."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coalmine.routing.history import (
    ITEMS_CAP,
    TEXT_CAP,
    History,
    answer_text,
    read_history,
)
from coalmine.routing.keys import history_aliases

CLIENTS = yaml.safe_load((Path(__file__).parent / "histories.yaml").read_text("utf-8"))
SALT = b"s" * 32


class Memory:
    """Keeps conversations by their aliases, as the gateway does after each answer."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def recognise(self, body: dict[str, Any]) -> int | str:
        aliases = history_aliases(SALT, "chat", "caller", read_history(body))
        if not aliases:
            return "new"
        return next((self._known[a] for a in aliases if a in self._known), "unrecognised")

    def answered(self, conversation: int, body: dict[str, Any], answer: dict[str, Any]) -> None:
        text, calls = answer.get("text", ""), answer.get("calls", [])
        if not text and not calls:
            return
        asked, newest = read_history(body), answer_text(text, calls)
        whole = History(asked.first_user, asked.first_answer or newest, newest)
        for alias in history_aliases(SALT, "chat", "caller", whole):
            self._known.setdefault(alias, conversation)


@pytest.mark.parametrize("told", CLIENTS, ids=lambda told: told["client"])
def test_a_client_is_recognised_at_each_turn(told: dict[str, Any]) -> None:
    memory = Memory()
    for number, turn in enumerate(told["turns"], 1):
        found = memory.recognise(turn["body"])
        assert found == turn["is"], f"turn {number}"
        conversation = found if isinstance(found, int) else number
        memory.answered(conversation, turn["body"], turn["answer"])


def echoed(text: str) -> History:
    """Return the history of a client that sends `text` back as the answer."""
    return read_history(
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": text}]}
    )


ECHOES = [
    ("as it was", lambda text: text),
    ("trimmed", str.strip),
    ("with a line break after it", lambda text: text + "\n"),
]


@pytest.mark.parametrize(("how", "echo"), ECHOES, ids=[how for how, _ in ECHOES])
@pytest.mark.parametrize("size", [10, TEXT_CAP - 2, TEXT_CAP - 1, TEXT_CAP, TEXT_CAP + 1, 50_000])
@pytest.mark.parametrize("before", ["", "\n\n", "<think>" + "hm " * 5000 + "</think>\n\n"])
def test_an_answer_of_any_length_is_recognised(how: str, echo: Any, size: int, before: str) -> None:
    for space_at in (size - 1, TEXT_CAP - 1, TEXT_CAP):
        body = "x" * space_at + " " + "y" * max(0, size - space_at)
        said = before + body
        assert echoed(echo(said)).newest_answer == answer_text(said), (how, space_at)


@pytest.mark.parametrize("space_at", [TEXT_CAP - 2, TEXT_CAP - 1, TEXT_CAP])
def test_an_answer_that_was_kept_only_up_to_the_cap_is_recognised(space_at: int) -> None:
    said = "x" * space_at + " " + "y" * 5000
    assert echoed(said).newest_answer == answer_text(said[:TEXT_CAP])


def test_answers_that_differ_in_text_or_in_calls_are_different() -> None:
    texts = [answer_text("a"), answer_text("b"), answer_text("a", ["1"]), answer_text("a", ["2"]),
             answer_text("a", ["1", "2"]), answer_text("", ["1"]), answer_text("")]  # fmt: skip
    assert len(set(texts)) == len(texts)


MALFORMED = [
    {},
    {"messages": None},
    {"messages": 5},
    {"messages": {}},
    {"messages": [None, 1, "x", [], {}]},
    {"messages": [{"role": None}, {"role": ["user"]}, {"role": {"a": 1}, "content": 1}]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": None}]},
    {"messages": [{"role": "user", "content": [None, 1, [], {"type": ["text"], "text": "x"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
    {"messages": [{"role": "user", "content": b"\xff\xfe"}]},
    {"input": [{"type": 5}, {"type": None, "role": None}, {"type": ["x"], "call_id": 1}]},
    {"input": {"a": 1}},
    {"prompt": {"a": 1}},
    {"prompt": None},
]


@pytest.mark.parametrize("body", MALFORMED, ids=str)
def test_a_malformed_body_is_the_beginning_of_nothing(body: dict[str, Any]) -> None:
    assert read_history(body) == History(first_user="")


ODD_ANSWERS = [
    {"role": "assistant"},
    {"role": "assistant", "content": 5, "tool_calls": 5},
    {"role": "assistant", "content": None, "tool_calls": [None, 1, {}]},
    {"role": "assistant", "content": [{"type": "tool_use"}]},
]


@pytest.mark.parametrize("field", ["messages", "input"])
@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=str)
def test_an_odd_answer_is_an_answer_that_nobody_gave(field: str, answer: dict[str, Any]) -> None:
    history = read_history({field: [{"role": "user", "content": "x"}, answer]})
    assert history.first_user == "x"
    assert history.first_answer is not None


def test_a_body_that_wants_to_waste_our_time_does_not() -> None:
    many = [{"role": "user", "content": "x"}] * (ITEMS_CAP * 20)
    assert read_history({"messages": many}).first_user == "x"
    big = "x" * 10_000_000
    assert (
        len(read_history({"messages": [{"role": "user", "content": big}]}).first_user) == TEXT_CAP
    )
    assert len(read_history({"input": big}).first_user) == TEXT_CAP
    assert len(read_history({"prompt": big}).first_user) == TEXT_CAP
    calls = [{"id": "x" * 1000}] * 10_000
    answer = read_history(
        {"messages": [{"role": "assistant", "content": big, "tool_calls": calls}]}
    ).newest_answer
    assert answer is not None
    assert len(answer) <= 2 * TEXT_CAP + 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "tool_calls", "id", "call_id"]),
            inner
            | st.sampled_from(
                ["user", "assistant", "text", "tool_use", "function_call", "reasoning"]
            ),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["messages", "input", "prompt"]), json_values))
def test_no_body_makes_it_raise(body: dict[str, Any]) -> None:
    history = read_history(body)
    assert (history.first_answer is None) == (history.newest_answer is None)
