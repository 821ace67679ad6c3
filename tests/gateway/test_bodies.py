"""What of a client's body may not reach LiteLLM."""

from __future__ import annotations

from typing import Any

import pytest

from coalmine.gateway.bodies import map_fallbacks, strip_choices, strip_transport

ALIASES = {"chat.green": "chat", "green-1": "chat"}


@pytest.mark.parametrize(("given", "kept"), [
    (["chat.green"], ["chat"]),
    (["other"], ["other"]),
    ([{"model": "green-1", "num_retries": 2}], [{"model": "chat", "num_retries": 2}]),
    ([{"model": "chat", "metadata": {}, "fallbacks": ["green-1"]}], [{"model": "chat"}]),
    ([{"chat": ["chat.green", "other"]}], [{"chat": ["chat", "other"]}]),
    ([{"model": "other", "messages": ["green-1"]}], [{"model": "other", "messages": ["green-1"]}]),
    ([7, None], [7, None]),
])
def test_fallbacks_name_services_only(given: list[Any], kept: list[Any]) -> None:
    """Slots and deployments are mapped; what would replace our record is taken away."""
    data = {"fallbacks": given}
    map_fallbacks(data, ALIASES)
    assert data["fallbacks"] == kept


def test_a_list_of_fallbacks_has_an_end() -> None:
    """Ten thousand targets are not walked."""
    data = {"context_window_fallbacks": ["chat.green"] * 10_000}
    map_fallbacks(data, ALIASES)
    assert data["context_window_fallbacks"] == ["chat"] * 64


def test_the_way_to_the_engine_is_not_the_clients() -> None:
    """Its other headers stay."""
    data = {"custom_llm_provider": "anthropic", "organization": 5, "_excluded_deployment_ids": [1],
            "extra_headers": {"Authorization": "x", "X-Tenant": "a"}, "temperature": 0}
    strip_choices(data)
    strip_transport(data)
    assert data == {"extra_headers": {"X-Tenant": "a"}, "temperature": 0}
