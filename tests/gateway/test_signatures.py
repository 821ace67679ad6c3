"""The start-up check of LiteLLM's hooks."""

from typing import Any

import pytest

from coalmine.gateway.signatures import EXPECTED, mismatches


@pytest.fixture(scope="module")
def logger() -> type:
    """LiteLLM's own."""
    from litellm.integrations.custom_logger import CustomLogger

    return CustomLogger


def test_the_installed_litellm_is_the_one_we_know(logger: type) -> None:
    """Nothing is wrong with it."""
    assert mismatches(logger) == []


def test_our_plugin_has_every_hook_that_we_expect() -> None:
    """And takes the arguments by which they are called."""
    from coalmine.gateway.plugin import CoalminePlugin

    assert mismatches(CoalminePlugin) == []
    assert set(EXPECTED) <= set(CoalminePlugin.__dict__)


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_hook_that_is_gone_is_told(logger: type, name: str) -> None:
    """Each of them."""
    doctored = type("Doctored", (logger,), {name: None})
    assert mismatches(doctored) == [f"{name} is missing"]


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_hook_that_lost_an_argument_is_told(logger: type, name: str) -> None:
    """Or had it renamed."""
    async def hook(self: Any, /, **named: Any) -> None: ...

    doctored = type("Doctored", (logger,), {name: hook})
    (told,) = mismatches(doctored)
    assert told == f"{name} has lost {', '.join(EXPECTED[name])}"


def test_a_hook_that_demands_more_is_told(logger: type) -> None:
    """One more with a default is none of our business."""
    async def more(self: Any, kwargs: Any, call_type: Any, tenant: Any, extra: int = 0) -> None: ...

    doctored = type("Doctored", (logger,), {"async_pre_call_deployment_hook": more})
    assert mismatches(doctored) == [
        "async_pre_call_deployment_hook demands tenant, which we do not know"]


def test_what_is_no_logger_at_all_is_told() -> None:
    """For every hook."""
    assert len(mismatches(object)) == len(EXPECTED)
