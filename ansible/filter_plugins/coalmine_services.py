"""What each host must know of the services, from the inventory's one account of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

MODELS = "/var/lib/coalmine/models"
"""Where the role `weights` puts a release's weights."""

ENGINES = "gpu_hosts"
"""The group of hosts that run a service's engines, unless the service names another (`hosts`)."""


def engines(services: Mapping[str, Any], host: str, groups: Mapping[str, list[str]],
            folder: str | None = None) -> list[dict[str, Any]]:
    """Return the slots of a host, as the role `vllm` wants them; blue before green. `folder` is
    where it has its weights."""
    return [_slot(name, service, slot, folder or MODELS)
            for name, service in services.items() if host in _hosts(service, groups)
            for slot in sorted(service["slots"])]


def _hosts(service: Mapping[str, Any], groups: Mapping[str, list[str]]) -> list[str]:
    return list(groups.get(service.get("hosts", ENGINES), []))


def engine_hosts(services: Mapping[str, Any], service: str, groups: Mapping[str, list[str]]
                 ) -> list[str]:
    """Return the hosts that run a service's engines."""
    return _hosts(services[service], groups)


def _slot(name: str, service: Mapping[str, Any], slot: str, folder: str) -> dict[str, Any]:
    held = service["slots"][slot]
    release = service["releases"][held["release"]]
    own = {key: value for key, value in {**release, **held}.items()
           if key in ("arguments", "devices", "gpu_memory", "tls", "variables")}
    return {"service": name, "slot": slot, "release": held["release"], "port": held["port"],
            "model": f"{folder}/{release['weights']}", "environment": release["environment"], **own}


def weights(services: Mapping[str, Any], known: Mapping[str, Any], host: str,
            groups: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Return the weights that the slots of a host need, as the role `weights` wants them.

    Raises:
        AnsibleFilterError: a release names weights that the inventory does not know.
    """
    wanted = {str(service["releases"][held["release"]]["weights"])
              for service in services.values() if host in _hosts(service, groups)
              for held in service["slots"].values()}
    unknown = sorted(wanted - set(known))
    if unknown:
        raise AnsibleFilterError(
            f"a release wants the weights {', '.join(unknown)}, and coalmine_weights knows "
            f"{', '.join(sorted(known)) or 'none'}: add them there, with source and manifest")
    return [{"name": name, **known[name]} for name in sorted(wanted)]


def models(services: Mapping[str, Any], groups: Mapping[str, list[str]],
           hosts: Mapping[str, Mapping[str, Any]], homes: Mapping[str, str] | None = None
           ) -> list[dict[str, Any]]:
    """Return LiteLLM's `model_list`: a deployment for each slot of each host.

    Args:
        services: the inventory's account of them.
        groups: the inventory's groups.
        hosts: the hosts' variables: `coalmine_address`, or else Ansible's own address of a host,
            or else its name is where gateways reach it.
        homes: the slot whose deployments clients call by the service's name, by service: stable's,
            so that without Coalmine nothing reaches the other. Default: that of the inventory's
            stable release.
    """
    return [_deployment(name, service, slot, host, hosts, (homes or {}).get(name))
            for name, service in services.items()
            for slot in sorted(service["slots"]) for host in _hosts(service, groups)]


def address(host: str, hosts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return where other hosts reach one."""
    known = hosts[host]
    return str(known.get("coalmine_address") or known.get("ansible_host") or host)


def tls(host: str, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return a host's certificate, as the roles want it; None where it has none."""
    held = hosts[host].get("coalmine_tls")
    return {**held, "names": list(dict.fromkeys([host, address(host, hosts)]))} if held else None


def redis_tls(host: str, hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the certificate that the host's Redis shows, None where it speaks no TLS. It may be
    the last to: gateways need the authority's file before."""
    return tls(host, hosts) if hosts[host].get("coalmine_redis_tls", True) else None


def authority(known: list[str], hosts: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return who signed the certificates of some hosts, a path; None where none has one."""
    return next((str(held["authority"]) for host in known if (held := tls(host, hosts))), None)


def scheme(host: str, hosts: Mapping[str, Mapping[str, Any]],
           held: Mapping[str, Any] | None = None) -> str:
    """Return how a host is spoken to, or an engine in one of its slots."""
    return "https" if tls(host, hosts) and (held or {}).get("tls", True) else "http"


def _place(host: str, hosts: Mapping[str, Mapping[str, Any]], port: int,
           held: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Where it is, and the name in its certificate where it has one."""
    found = {"address": address(host, hosts), "port": port}
    return {**found, "tls_name": host} if scheme(host, hosts, held) == "https" else found


def _deployment(name: str, service: Mapping[str, Any], slot: str, host: str,
                hosts: Mapping[str, Mapping[str, Any]], home: str | None) -> dict[str, Any]:
    held = service["slots"][slot]
    at = f"{scheme(host, hosts, held)}://{address(host, hosts)}:{held['port']}"
    group = name if slot == (home or _slot_of(service, service["stable"])) else f"{name}.{slot}"
    return {
        "model_name": group,
        "litellm_params": {
            # The name holds the release: an engine with another answers 404 and is never used.
            "model": f"openai/{name}-{held['release']}",
            "api_base": f"{at}/v1",
            "api_key": "os.environ/VLLM_KEY",
        },
        "model_info": {"id": f"{host}-{name}-{slot}", "service": name, "slot": slot, "host": host},
    }


def _slot_of(service: Mapping[str, Any], release: str) -> str | None:
    return next((slot for slot, held in service["slots"].items() if held["release"] == release),
                None)


def policy(services: Mapping[str, Any], common: Mapping[str, Any],
           standing: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return Coalmine's policy: what is `common` to all services, and each one's `policy`.

    Stable is what the gateways say (`standing`), and else what the inventory says: after a
    promotion its stable may be in no slot any more.
    """
    known = {name: one["stable"] for name, one in (standing or {}).items() if one}
    return {**common, "services": {
        name: {"releases": {held["release"]: {"slot": slot}
                            for slot, held in sorted(service["slots"].items())},
               "stable": known.get(name, service["stable"]), **service.get("policy", {})}
        for name, service in services.items()}}


RUNNING = ("canary", "paused", "baking", "rolling_back")
"""Phases in which both slots serve users."""


def homes(services: Mapping[str, Any], standing: Mapping[str, Any]) -> dict[str, str]:
    """Return the slot of each service's stable release: as the gateways know it, or else as the
    inventory says."""
    return {name: _stable_slot(service, standing.get(name)) for name, service in services.items()}


def serving(services: Mapping[str, Any], standing: Mapping[str, Any]) -> list[str]:
    """Return the slots that serve users now, as the role `vllm` wants them; none where no gateway
    says that it knows the service."""
    return [f"{name}-{at}" for name, service in services.items() if standing.get(name)
            for at in sorted(service["slots"])
            if at == _stable_slot(service, standing[name])
            or standing[name]["phase"] in RUNNING]


def unsure(services: Mapping[str, Any], standing: Mapping[str, Any], running: Iterable[str]
           ) -> list[str]:
    """Return those of the `running` slots that may serve users, as no gateway knows the service."""
    return [f"{name}-{at}" for name, service in services.items() if not standing.get(name)
            for at in sorted(service["slots"]) if f"{name}-{at}" in running]


def _stable_slot(service: Mapping[str, Any], known: Mapping[str, Any] | None) -> str:
    if known:
        return str(known["releases"][known["stable"]]["slot"])
    return _slot_of(service, service["stable"]) or "blue"


PORTS = (4001, 4002)
"""A gateway's proxies, as the role `gateway` has them by default."""


def urls(gateways: list[str], hosts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the addresses of all proxies, each by itself."""
    return [f"{scheme(host, hosts)}://{address(host, hosts)}:{port}"
            for host in gateways for port in hosts[host].get("gateway_ports", PORTS)]


METRICS = 8405
"""Where load balancers show their own metrics."""


def balancers(known: list[str], hosts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the load balancers, as the role `monitoring` wants them."""
    return [{"name": host, **_place(host, hosts, METRICS)} for host in known]


def proxies(gateways: list[str], hosts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return all proxies by name, as the roles `load_balancer` and `monitoring` want them."""
    return [{"name": f"{host}-{port}", **_place(host, hosts, port)}
            for host in gateways for port in hosts[host].get("gateway_ports", PORTS)]


def slow_path(services: Mapping[str, Any], groups: Mapping[str, list[str]],
              hosts: Mapping[str, Mapping[str, Any]], homes: Mapping[str, str] | None = None
              ) -> dict[str, Any]:
    """Return where the load balancer's slow path leads: to all engines, by service and slot.

    It begins with the slot in `homes`, by default that of the inventory's stable release.
    """
    return {name: {"slot": (homes or {}).get(name) or slot(services, name), "engines": {
                at: [{"name": host, **_place(host, hosts, held["port"], held)}
                     for host in _hosts(service, groups)]
                for at, held in sorted(service["slots"].items())}}
            for name, service in services.items()}


def watched(services: Mapping[str, Any], groups: Mapping[str, list[str]],
            hosts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return all engines, as the role `monitoring` wants them."""
    return [{**_place(host, hosts, held["port"], held), "service": name, "slot": at}
            for name, service in services.items() for at, held in sorted(service["slots"].items())
            for host in _hosts(service, groups)]


def slot(services: Mapping[str, Any], service: str, release: str = "") -> str:
    """Return the slot of a release, by default of the inventory's stable one.

    Raises:
        AnsibleFilterError: the release is in no slot.
    """
    wanted = release or services[service]["stable"]
    found = _slot_of(services[service], wanted)
    if found is None:
        raise AnsibleFilterError(f"{service}: {wanted} is in no slot of coalmine_services")
    return found


class FilterModule:
    """The filters that Ansible finds here."""

    def filters(self) -> dict[str, Any]:
        """Return them by name."""
        known = (address, authority, balancers, engine_hosts, engines, homes, models, policy,
                 proxies, redis_tls, scheme, serving, slot, slow_path, tls, unsure, urls, watched,
                 weights)
        return {f"coalmine_{one.__name__}": one for one in known}
