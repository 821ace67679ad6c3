"""What each host must know, from the inventory's one account of the services."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from .plugins import load

filters = load("ansible/filter_plugins/coalmine_services.py").FilterModule().filters()
CHAT: dict[str, Any] = {
    "stable": "v1",
    "slots": {"green": {"release": "v2", "port": 8002, "devices": ["1"]},
              "blue": {"release": "v1", "port": 8001}},
    "releases": {"v1": {"weights": "llama-a", "environment": "0.32.0", "gpu_memory": 0.45},
                 "v2": {"weights": "llama-b", "environment": "0.33.0", "arguments": ["--x"]}},
    "policy": {"rollout": {"steps": [{"weight": 5}]}},
}
CODE: dict[str, Any] = {
    "stable": "c1", "hosts": "code_hosts",
    "slots": {"blue": {"release": "c1", "port": 8003}},
    "releases": {"c1": {"weights": "coder", "environment": "0.32.0"}},
}
SERVICES = {"chat": CHAT, "code": CODE}
GROUPS = {"gpu_hosts": ["gpu1", "gpu2"], "code_hosts": ["gpu2"], "gateways": ["gw1"]}
HOSTS: dict[str, dict[str, Any]] = {
    "gpu1": {"ansible_host": "10.0.0.11"}, "gpu2": {}, "gw1": {"coalmine_address": "10.0.0.5",
                                                            "ansible_host": "bastion"},
}


def standing(phase: str = "idle", stable: str = "v1") -> dict[str, Any]:
    """Chat as gateways know it."""
    return {"chat": {"phase": phase, "stable": stable,
                     "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}}}, "code": None}


def test_a_host_has_the_slots_of_the_services_that_its_group_runs() -> None:
    """Blue before green; what a slot says goes before what its release says."""
    first, second = filters["coalmine_engines"](SERVICES, "gpu1", GROUPS)
    assert first == {"service": "chat", "slot": "blue", "release": "v1", "port": 8001,
                     "model": "/var/lib/coalmine/models/llama-a", "environment": "0.32.0",
                     "gpu_memory": 0.45}
    assert (second["slot"], second["devices"], second["arguments"]) == ("green", ["1"], ["--x"])
    assert [one["service"] for one in filters["coalmine_engines"](SERVICES, "gpu2", GROUPS)] == [
        "chat", "chat", "code"]


def test_a_services_engines_run_on_the_hosts_of_its_group() -> None:
    """By default that of all GPU hosts; a group without hosts is not there."""
    assert filters["coalmine_engine_hosts"](SERVICES, "chat", GROUPS) == ["gpu1", "gpu2"]
    assert filters["coalmine_engine_hosts"](SERVICES, "code", GROUPS) == ["gpu2"]
    assert filters["coalmine_engine_hosts"](SERVICES, "code", {}) == []


def test_a_host_gets_the_weights_that_its_slots_need() -> None:
    """Each once."""
    known = {name: {"source": f"/srv/{name}", "manifest": f"{name}.json"}
             for name in ("llama-a", "llama-b", "coder")}
    found = filters["coalmine_weights"](SERVICES, known, "gpu1", GROUPS)
    assert found == [{"name": name, **known[name]} for name in ("llama-a", "llama-b")]
    with pytest.raises(AnsibleFilterError, match="wants the weights llama-b, and coalmine_weights"):
        filters["coalmine_weights"](SERVICES, {"llama-a": {}}, "gpu1", GROUPS)


@pytest.mark.parametrize(("homes", "groups"), [
    (None, {"blue": "chat", "green": "chat.green"}),
    ({"chat": "green"}, {"blue": "chat.blue", "green": "chat"}),
])
def test_stables_slot_is_what_clients_call(homes: Any, groups: dict[str, str]) -> None:
    """The other has a group of its own, so that without Coalmine nothing reaches it."""
    found = filters["coalmine_models"]({"chat": CHAT}, GROUPS, HOSTS, homes)
    assert {one["model_info"]["slot"]: one["model_name"] for one in found} == groups
    assert [one["litellm_params"]["api_base"] for one in found] == [
        "http://10.0.0.11:8001/v1", "http://gpu2:8001/v1",
        "http://10.0.0.11:8002/v1", "http://gpu2:8002/v1"]
    assert found[0]["litellm_params"]["model"] == "openai/chat-v1"
    assert found[-1]["litellm_params"]["model"] == "openai/chat-v2"
    assert len({one["model_info"]["id"] for one in found}) == 4


def test_the_policy_is_made_of_the_services_and_what_they_share() -> None:
    """Each release has the slot that it is in."""
    found = filters["coalmine_policy"](SERVICES, {"state": "os.environ/REDIS"})
    assert found["state"] == "os.environ/REDIS"
    assert found["services"]["chat"] == {
        "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}}, "stable": "v1",
        "rollout": {"steps": [{"weight": 5}]}}


def test_stable_is_what_gateways_say_and_the_inventorys_may_be_gone() -> None:
    """As after a promotion, when the next release has taken its slot."""
    grown = {"chat": {**CHAT, "slots": {**CHAT["slots"], "blue": {"release": "v3", "port": 8001}}}}
    known = standing(stable="v2")
    assert filters["coalmine_policy"](grown, {}, known)["services"]["chat"]["stable"] == "v2"
    homes = filters["coalmine_homes"](grown, known)
    assert filters["coalmine_slow_path"](grown, GROUPS, HOSTS, homes)["chat"]["slot"] == "green"


@pytest.mark.parametrize(("known", "slots"), [
    (standing(), ["chat-blue"]),
    (standing(stable="v2"), ["chat-green"]),
    (standing("rolled_back"), ["chat-blue"]),
    *((standing(phase), ["chat-blue", "chat-green"])
      for phase in ("canary", "paused", "baking", "rolling_back")),
    ({"chat": None, "code": None}, []),
])
def test_slots_that_serve_are_known(known: dict[str, Any], slots: list[str]) -> None:
    """Stable's, and in a rollout both; where no gateway knows the service, none does."""
    assert filters["coalmine_serving"](SERVICES, known) == slots


def test_what_runs_may_serve_where_no_gateway_says() -> None:
    """And only there: of chat the gateways say that green serves nobody."""
    running = ["chat-green", "code-blue", "other-blue"]
    assert filters["coalmine_unsure"](SERVICES, standing(), running) == ["code-blue"]
    assert filters["coalmine_unsure"](SERVICES, {}, running) == ["chat-green", "code-blue"]
    assert filters["coalmine_unsure"](SERVICES, {}, []) == []


def test_the_home_is_what_gateways_say_and_else_what_the_inventory_says() -> None:
    """After a promotion the inventory is old."""
    assert filters["coalmine_homes"](SERVICES, standing(stable="v2")) == {
        "chat": "green", "code": "blue"}


def test_proxies_have_names_and_addresses() -> None:
    """Where others reach their host, not where Ansible does."""
    assert filters["coalmine_urls"](["gw1"], HOSTS) == [
        "http://10.0.0.5:4001", "http://10.0.0.5:4002"]
    assert filters["coalmine_proxies"](["gw1"], {"gw1": {"gateway_ports": [1]}}) == [
        {"name": "gw1-1", "address": "gw1", "port": 1}]


def test_the_slow_path_and_monitoring_know_all_engines() -> None:
    """By service and slot."""
    found = filters["coalmine_slow_path"](SERVICES, GROUPS, HOSTS)
    assert found["chat"]["slot"] == "blue"
    assert found["chat"]["engines"]["green"] == [
        {"name": "gpu1", "address": "10.0.0.11", "port": 8002},
        {"name": "gpu2", "address": "gpu2", "port": 8002}]
    assert len(filters["coalmine_watched"](SERVICES, GROUPS, HOSTS)) == 5


SECURED = {host: {**known, "coalmine_tls": {
    "authority": "/pki/ca.pem", "certificate": f"/pki/{host}.pem", "key": f"/pki/{host}.key"}}
    for host, known in HOSTS.items()}


def test_a_hosts_certificate_holds_its_name_and_where_others_reach_it() -> None:
    """Each once, and nothing where there is none."""
    assert filters["coalmine_tls"]("gw1", SECURED) == {
        "authority": "/pki/ca.pem", "certificate": "/pki/gw1.pem", "key": "/pki/gw1.key",
        "names": ["gw1", "10.0.0.5"]}
    assert filters["coalmine_tls"]("gpu2", SECURED)["names"] == ["gpu2"]
    assert filters["coalmine_tls"]("gw1", HOSTS) is None
    assert filters["coalmine_redis_tls"]("gw1", SECURED) == filters["coalmine_tls"]("gw1", SECURED)
    later = {**SECURED, "gw1": {**SECURED["gw1"], "coalmine_redis_tls": False}}
    assert filters["coalmine_redis_tls"]("gw1", later) is None
    assert filters["coalmine_authority"](["gw1"], SECURED) == "/pki/ca.pem"
    assert filters["coalmine_authority"](["gw1"], HOSTS) is None


def test_hosts_with_certificates_are_spoken_to_by_them() -> None:
    """Each host by itself, so that one after the other can get its own."""
    mixed = {**SECURED, "gpu2": HOSTS["gpu2"]}
    assert filters["coalmine_urls"](["gw1"], mixed) == [
        "https://10.0.0.5:4001", "https://10.0.0.5:4002"]
    assert filters["coalmine_proxies"](["gw1"], mixed)[0] == {
        "name": "gw1-4001", "address": "10.0.0.5", "port": 4001, "tls_name": "gw1"}
    assert filters["coalmine_balancers"](["gw1"], mixed)[0]["tls_name"] == "gw1"
    found = filters["coalmine_models"]({"chat": CHAT}, GROUPS, mixed)
    assert [one["litellm_params"]["api_base"] for one in found[:2]] == [
        "https://10.0.0.11:8001/v1", "http://gpu2:8001/v1"]
    engines = filters["coalmine_slow_path"](SERVICES, GROUPS, mixed)["chat"]["engines"]["blue"]
    assert [one.get("tls_name") for one in engines] == ["gpu1", None]


def test_a_slot_may_speak_plain_as_long_as_it_serves() -> None:
    """Its engine is not restarted for a certificate; the other slot's begins with one."""
    held = {**CHAT, "slots": {**CHAT["slots"], "blue": {"release": "v1", "port": 8001,
                                                        "tls": False}}}
    found = filters["coalmine_models"]({"chat": held}, {"gpu_hosts": ["gpu1"]}, SECURED)
    assert [one["litellm_params"]["api_base"] for one in found] == [
        "http://10.0.0.11:8001/v1", "https://10.0.0.11:8002/v1"]
    watched = filters["coalmine_watched"]({"chat": held}, {"gpu_hosts": ["gpu1"]}, SECURED)
    assert [one.get("tls_name") for one in watched] == [None, "gpu1"]
    slots = filters["coalmine_engines"]({"chat": held}, "gpu1", {"gpu_hosts": ["gpu1"]})
    assert [one.get("tls") for one in slots] == [False, None]


def test_a_release_without_a_slot_is_refused() -> None:
    """By name."""
    assert filters["coalmine_slot"](SERVICES, "chat", "v2") == "green"
    with pytest.raises(AnsibleFilterError, match="chat: v9 is in no slot"):
        filters["coalmine_slot"](SERVICES, "chat", "v9")
