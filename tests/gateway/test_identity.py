"""Who is a conversation: what the client states, in the order of rule 3."""

from typing import Any

import pytest

from coalmine.gateway.identity import TELLING, Identity, identify

SALT = b"s" * 32
HISTORY = [{"role": "user", "content": "Hi"},
           {"role": "assistant", "content": "x" * TELLING}, {"role": "user", "content": "More"}]


def who(data: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **fields: Any
        ) -> Identity:
    usual: dict[str, Any] = {"service": "chat", "kind": "chat", "caller": "k",
                             "unit": "conversation", "headers": ["x-a", "x-b"], "salt": SALT}
    return identify(data or {"messages": HISTORY}, metadata or {}, **{**usual, **fields})


def test_the_first_configured_header_counts() -> None:
    """Before a session, before anything in the body."""
    both = {"headers": {"x-b": "2", "x-a": "1"}, "session_id": "s"}
    assert who(metadata=both) == who(metadata={"headers": {"x-a": "1"}})
    assert who(metadata=both).basis == "id"
    assert who(metadata={"headers": {"x-b": "1"}}).basis == "id"
    assert who(metadata={"headers": {"x-c": "1"}}).basis == "history"


def test_a_session_counts_unless_litellm_made_it_up() -> None:
    """It makes one for each request that has none."""
    assert who(metadata={"session_id": "s"}).basis == "session"
    made_up = {"session_id": "s", "litellm_session_id_generated": True}
    assert who(metadata=made_up).basis == "history"


@pytest.mark.parametrize("metadata", [{"headers": None}, {"headers": "x-a: 1"}, {"headers": []},
                                      {"session_id": ""}, {"headers": {"x-a": ""}}])
def test_what_is_no_id_is_passed_over(metadata: dict[str, Any]) -> None:
    """And raises nothing."""
    assert who(metadata=metadata).basis == "history"


@pytest.mark.parametrize("field", ["service", "caller"])
def test_an_id_is_scoped(field: str) -> None:
    """By service and by the caller's key."""
    metadata = {"headers": {"x-a": "1"}}
    assert who(metadata=metadata).key != who(metadata=metadata, **{field: "other"}).key


def test_without_an_answer_in_it_a_request_is_new() -> None:
    """Drawn afresh, under no alias."""
    found = who({"messages": HISTORY[:1]})
    assert (found.basis, found.key, found.aliases) == ("new", None, ())


def test_a_history_has_a_beginning_and_a_newest_answer() -> None:
    """The newest only when it is telling."""
    assert len(who().aliases) == 2
    short = [HISTORY[0], {"role": "assistant", "content": "Yes."}, HISTORY[2]]
    assert len(who({"messages": short}).aliases) == 1
    calls = [HISTORY[0], {"role": "assistant", "tool_calls": [{"id": "call_1"}]}, HISTORY[2]]
    assert len(who({"messages": calls}).aliases) == 2


@pytest.mark.parametrize(("kind", "basis"), [
    ("embedding", None), ("other", None), ("completion", "new"), ("messages", "history"),
])
def test_the_kind_of_request_matters(kind: str, basis: str | None) -> None:
    """Embeddings are no conversation, text completions one of one turn."""
    assert who(kind=kind).basis == basis


def test_by_unit_key_all_of_a_caller_is_one() -> None:
    """Also embeddings, which must not mix."""
    found = {who(kind=kind, unit="key").key for kind in ("chat", "embedding", "completion")}
    assert len(found) == 1
    assert who(unit="key", caller="other").key not in found


def test_a_response_continues_another() -> None:
    """Only where the endpoint knows such ids."""
    data = {"input": "More", "previous_response_id": "resp_1"}
    assert (who(data, kind="responses").basis, len(who(data, kind="responses").aliases)) == (
        "response", 1)
    assert who(data, kind="chat").basis == "new"


@pytest.mark.parametrize("ident", ["resp_", "resp_!!!", "\ud800", "x" * 100_000, "resp_bGl0ZQ=="])
def test_a_response_id_that_is_nonsense_raises_nothing(ident: str) -> None:
    """It is a stranger's."""
    assert who({"input": "x", "previous_response_id": ident}, kind="responses").basis == "response"
