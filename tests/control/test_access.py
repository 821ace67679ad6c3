"""Who may do what."""

import hashlib
from typing import Any

import pytest

from coalmine.control.access import EVERYTHING, Forbidden, Person, bearer, operator_of, same_token
from coalmine.rollout import Policy


def policy(*may: str, token: str = "secret") -> Policy:
    return Policy.model_validate({"operators": [
        {"name": "other", "token_sha256": "0" * 64, "may": ["read"]},
        {"name": "oncall", "token_sha256": hashlib.sha256(token.encode()).hexdigest(), "may": may},
        {"name": "third", "token_sha256": "f" * 64, "may": ["read", "start"]},
    ]})


@pytest.mark.parametrize(("header", "token"), [
    ("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("BEARER abc", "abc"),
    (None, None), ("", None), ("Bearer", None), ("Bearer  ", None), ("Basic abc", None),
    ("abc", None),
])
def test_a_token_comes_as_a_bearer(header: str | None, token: str | None) -> None:
    """Anything else is no token."""
    assert bearer(header) == token


def test_an_operator_is_known_by_the_tokens_hash() -> None:
    """And may what the policy says; reading goes with it."""
    person = operator_of("secret", policy("pause", "rollback"))
    assert person == Person("oncall", frozenset({"read", "pause", "rollback"}))
    person.demand("rollback")
    with pytest.raises(Forbidden, match="oncall may not start"):
        person.demand("start")


@pytest.mark.parametrize("token", [
    "", "Secret", "secret ", "0" * 64, hashlib.sha256(b"secret").hexdigest(), "\ud800", "ä",
])
def test_nobody_else_is_an_operator(token: str) -> None:
    """Neither a hash as a token, nor what cannot be encoded."""
    assert operator_of(token, policy("read")) is None
    assert operator_of(token, None) is None


def test_all_operators_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first that fits ends nothing, so the answer's time does not tell which it was."""
    import hmac

    compared: list[Any] = []
    real = hmac.compare_digest
    monkeypatch.setattr("coalmine.control.access.hmac.compare_digest",
                        lambda a, b: compared.append(b) or real(a, b))
    operator_of("secret", policy("read"))
    assert len(compared) == 3


@pytest.mark.parametrize(("given", "expected", "same"), [
    ("a", "a", True), ("ä", "ä", True), ("a", "b", False), ("a", "aa", False), (None, None, False),
    ("", "", False), (None, "a", False), ("a", None, False), ("\ud800", "a", False),
    ("a", "\udcff", False),
])
def test_a_missing_token_equals_nothing(
    given: str | None, expected: str | None, same: bool
) -> None:
    """An unset secret must not open a door."""
    assert same_token(given, expected) is same


def test_an_admin_may_all_that_an_operator_can_be_given() -> None:
    """Both lists name the same."""
    from coalmine.rollout.policy import Operator

    (literal,) = Operator.model_fields["may"].annotation.__args__[:1]
    assert set(literal.__args__) == EVERYTHING
