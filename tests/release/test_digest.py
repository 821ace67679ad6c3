"""The digest of a document: literal vectors, so that no release of ours changes one silently."""

import pytest

from coalmine.release import CoalmineError, Slot, canonical_json, digest

VECTORS = [
    ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
    ([], "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"),
    (None, "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"),
    (
        {"b": 1, "a": [True, None, 1.5, "é"]},
        "ffb3c2a80df388f4038d7991e474743d41bb41a2792f850a190a44704d5b4326",
    ),
]


@pytest.mark.parametrize(("document", "hexadecimal"), VECTORS)
def test_a_document_has_the_digest_that_it_always_had(document: object, hexadecimal: str) -> None:
    assert digest(document) == f"sha256:{hexadecimal}"


def test_the_order_of_keys_does_not_matter_and_the_order_of_a_list_does() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_json_cannot_carry_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": number})


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical_json({"x": object()})


def test_an_error_reads_as_message_and_what_to_do() -> None:
    assert str(CoalmineError("it is broken", "mend it")) == "it is broken (mend it)"
    assert str(CoalmineError("it is broken")) == "it is broken"


def test_each_slot_knows_the_other_one() -> None:
    assert Slot.BLUE.other is Slot.GREEN
    assert Slot.GREEN.other is Slot.BLUE
