"""Keys of conversations: short, scoped by service and caller, the same for ever."""

from hypothesis import given
from hypothesis import strategies as st

from coalmine.routing.history import History, answer_text, read_history
from coalmine.routing.keys import (
    ID_CAP,
    KEY_BYTES,
    caller_key,
    explicit_key,
    hidden,
    history_aliases,
    response_alias,
)

SALT = b"s" * 32
HELLO = History("Hi", answer_text("Hello!"), answer_text("Hello!"))


def test_keys_are_the_ones_that_they_always_were() -> None:
    assert explicit_key(SALT, "chat", "caller", "id-1").hex() == "02c8aa5889165fc8"
    assert explicit_key(SALT, "chat", "caller2", "id-1").hex() == "61d07dd2b0abc6bc"
    assert explicit_key(SALT, "code", "caller", "id-1").hex() == "6fb207cbedec36c8"
    assert caller_key(SALT, "chat", "caller").hex() == "f7c4453b79c8efa8"
    assert response_alias(SALT, "chat", "caller", "resp_1").hex() == "e90cce51817153ae"
    assert [key.hex() for key in history_aliases(SALT, "chat", "caller", HELLO)] == [
        "d9c048692ed434de",
        "00e0adcb2f764b98",
    ]
    assert hidden(SALT, "alice") == "c0ba299fed093545"


def test_a_key_belongs_to_one_service_one_caller_one_kind_and_one_installation() -> None:
    keys = [
        explicit_key(SALT, "chat", "caller", "x"),
        explicit_key(SALT, "chat", "other", "x"),
        explicit_key(SALT, "code", "caller", "x"),
        explicit_key(b"t" * 32, "chat", "caller", "x"),
        response_alias(SALT, "chat", "caller", "x"),
        caller_key(SALT, "chat", "caller"),
        *history_aliases(SALT, "chat", "caller", HELLO),
        *history_aliases(SALT, "chat", "other", HELLO),
        *history_aliases(SALT, "code", "caller", HELLO),
    ]
    assert len(set(keys)) == len(keys)
    assert {len(key) for key in keys} == {KEY_BYTES}


def test_only_the_beginning_of_a_huge_id_counts() -> None:
    long = "x" * ID_CAP
    assert explicit_key(SALT, "chat", "c", long) == explicit_key(SALT, "chat", "c", long + "y" * 9)
    assert explicit_key(SALT, "chat", "c", long) != explicit_key(SALT, "chat", "c", "y" + long)
    assert response_alias(SALT, "chat", "c", long) == response_alias(SALT, "chat", "c", long + "y")


@given(st.text(st.characters()), st.text(st.characters()))
def test_any_text_makes_a_key_even_one_that_is_no_unicode(caller: str, said: str) -> None:
    assert len(explicit_key(SALT, "chat", caller, said + "\ud800")) == KEY_BYTES
    assert len(hidden(SALT, said + "\udfff")) == 16


def test_without_an_answer_there_is_nothing_by_which_to_find_a_conversation() -> None:
    assert history_aliases(SALT, "chat", "caller", History("Hi")) == ()


def test_a_thousand_times_hi_is_a_thousand_conversations() -> None:
    first = read_history({"messages": [{"role": "user", "content": "Hi"}]})
    assert history_aliases(SALT, "chat", "caller", first) == ()
    aliases = set()
    for number in range(1000):
        answer = answer_text(f"Hello number {number}!")
        aliases.update(history_aliases(SALT, "chat", "caller", History("Hi", answer, answer)))
    assert len(aliases) == 2000
