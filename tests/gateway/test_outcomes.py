"""Whose fault it is when an attempt does not end well."""

import asyncio

import pytest

from coalmine.gateway.outcomes import outcome_of
from coalmine.guardrails import Outcome


class Refusal(Exception):
    """As LiteLLM's: with the status that the engine answered."""

    def __init__(self, status: int | str) -> None:
        super().__init__(status)
        self.status_code = status


@pytest.mark.parametrize(("error", "outcome"), [
    (Refusal(400), Outcome.CLIENT_ERROR), (Refusal(413), Outcome.CLIENT_ERROR),
    (Refusal(422), Outcome.CLIENT_ERROR), (Refusal(408), Outcome.TIMEOUT),
    (Refusal("504"), Outcome.TIMEOUT), (TimeoutError(), Outcome.TIMEOUT),
    (Refusal(499), Outcome.DISCONNECT), (asyncio.CancelledError(), Outcome.DISCONNECT),
    (GeneratorExit(), Outcome.DISCONNECT), (Refusal(401), Outcome.ERROR),
    (Refusal(404), Outcome.ERROR), (Refusal(429), Outcome.ERROR), (Refusal(500), Outcome.ERROR),
    (Refusal("what"), Outcome.ERROR), (ValueError(), Outcome.ERROR),
])
def test_the_status_says_whose_fault_it_is(error: BaseException, outcome: Outcome) -> None:
    """What the engine refuses for its own reasons is its own."""
    assert outcome_of(error) is outcome


def test_a_clients_own_timeout_is_a_client_that_goes() -> None:
    """It would not wait any longer: no failure of the release, but it has waited so long."""
    assert outcome_of(TimeoutError(), client_timeout=True) is Outcome.DISCONNECT
    assert outcome_of(Refusal(400), client_timeout=True) is Outcome.CLIENT_ERROR
