"""The fleet: what LiteLLM's deployments say about services and slots."""

from typing import Any

import pytest

from coalmine.gateway.fleet import read_fleet
from coalmine.release import Slot


def deployment(group: str, ident: str, slot: Any = None, service: Any = "chat",
               model: str | None = None) -> dict[str, Any]:
    info = {"id": ident} | ({"service": service, "slot": slot} if service is not None else {})
    return {"model_name": group, "model_info": info,
            "litellm_params": {"model": model or f"hosted_vllm/{ident}"}}


PROPER = [deployment("chat", "b1", "blue"), deployment("chat", "b2", "blue"),
          deployment("chat.green", "g1", "green")]


def test_a_proper_fleet_has_places_and_no_warnings() -> None:
    """One slot in the home group, the other in a group of its own."""
    fleet = read_fleet(PROPER, ["chat"])
    assert fleet.warnings == ()
    assert [d["model_info"]["id"] for d in fleet.deployments("chat", Slot.BLUE)] == ["b1", "b2"]
    assert (fleet.places["g1"].slot, fleet.places["g1"].group) == (Slot.GREEN, "chat.green")
    assert fleet.deployments("chat", None) == fleet.deployments("other", Slot.BLUE) == ()


@pytest.mark.parametrize("name", ["chat.green", "b1", "g1", "hosted_vllm/b1", "hosted_vllm/g1"])
def test_whatever_names_a_deployment_means_its_service(name: str) -> None:
    """So that no client can choose its slot by it."""
    assert read_fleet(PROPER, ["chat"]).aliases[name] == "chat"


def test_the_service_itself_is_no_alias() -> None:
    """It is what it is."""
    assert "chat" not in read_fleet(PROPER, ["chat"]).aliases


def test_a_name_that_two_services_share_means_neither() -> None:
    """One engine may serve both."""
    fleet = read_fleet([*PROPER, deployment("code", "c1", "blue", "code", "hosted_vllm/b1")],
                       ["chat", "code"])
    assert "hosted_vllm/b1" not in fleet.aliases
    assert fleet.aliases["c1"] == "code"


def test_both_slots_in_one_group_are_warned_about() -> None:
    """It works; without Coalmine, LiteLLM would split it."""
    fleet = read_fleet([deployment("chat", "b1", "blue"), deployment("chat", "g1", "green")],
                       ["chat"])
    assert len(fleet.warnings) == 1
    assert "holds both slots" in fleet.warnings[0]
    assert fleet.places["g1"].slot is Slot.GREEN


@pytest.mark.parametrize("slot", ["red", None, 5, ["blue"], {}])
def test_an_unknown_slot_is_warned_about_and_not_used(slot: Any) -> None:
    """The others are."""
    fleet = read_fleet([*PROPER, deployment("chat", "x1", slot)], ["chat"])
    assert len(fleet.warnings) == 1
    assert "x1" in fleet.warnings[0]
    assert "x1" not in fleet.places


@pytest.mark.parametrize("service", [None, "unknown", 5, ["chat"], {"chat": 1}])
def test_what_belongs_to_no_service_is_left_alone(service: Any) -> None:
    """Nothing in a model list can stop the look at it."""
    fleet = read_fleet([*PROPER, deployment("other", "o1", "blue", service), {}, {
        "model_name": "bare", "litellm_params": None, "model_info": None}], ["chat"])
    assert set(fleet.places) == {"b1", "b2", "g1"}
    assert fleet.warnings == ()


def test_a_slots_group_that_others_share_is_warned_about() -> None:
    """It cannot be an alias, so clients could reach the candidate by its name."""
    fleet = read_fleet([*PROPER, deployment("chat.green", "o1", service=None)], ["chat"])
    assert "chat.green" not in fleet.aliases
    assert "also holds deployments of no service" in fleet.warnings[0]


def test_a_service_without_a_home_group_is_warned_about() -> None:
    """Clients that call it would find nothing."""
    fleet = read_fleet([deployment("chat.blue", "b1", "blue")], ["chat"])
    assert "no deployment of chat is in the group chat" in fleet.warnings[0]
    assert read_fleet([], ["chat"]).warnings == ()


def test_without_a_policy_a_deployment_counts_as_the_service_that_it_names() -> None:
    """Or the two slots of one service would be two services, one of them called chat.green."""
    fleet = read_fleet([*PROPER, deployment("other", "o1", service=None)], [])
    assert fleet.groups == {"b1": "chat", "b2": "chat", "g1": "chat", "o1": "other"}


def test_what_an_admin_asks_of_a_slots_group_directly_counts_under_the_group() -> None:
    """With a policy it is none of the service's evidence."""
    assert read_fleet(PROPER, ["chat"]).groups["g1"] == "chat.green"
