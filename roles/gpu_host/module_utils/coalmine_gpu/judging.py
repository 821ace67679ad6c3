"""What speaks against a host: its driver, its GPUs together, its files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .findings import LOOK, Finding
from .host import Host
from .judging_gpu import judge_health, judge_memory, judge_switches
from .telling import Gpu
from .versions import parts, upstream
from .wanted import Wanted


def judge(
    wanted: Wanted, gpus: list[Gpu], facts: dict[str, Any], host: Host
) -> Iterator[Finding]:
    """Say what speaks against the host, all of it."""
    yield from judge_driver(wanted, facts)
    yield from judge_number(wanted, gpus, host)
    for gpu in gpus:
        yield from judge_health(gpu)
        yield from judge_memory(gpu)
        yield from judge_switches(wanted, gpu)
    yield from judge_persistence(wanted, gpus, facts)
    yield from judge_fabric(gpus, facts, host)
    yield from judge_host(wanted, gpus, facts)


def judge_driver(wanted: Wanted, facts: dict[str, Any]) -> Iterator[Finding]:
    """Is it new enough, the right one, and all of one version?"""
    driver, loaded = facts["driver"], facts["module_loaded"]
    if wanted.driver_minimum and driver and parts(driver) < parts(wanted.driver_minimum):
        yield Finding(
            "error", f"The driver is {driver}, and {wanted.driver_minimum} is needed.",
            "Engines made for a newer driver end at their start.",
            "Install a newer one (gpu_host_driver_version), and reboot.")
    if wanted.driver_version and driver and driver != upstream(wanted.driver_version):
        yield Finding(
            "error", f"The driver is {driver}, and {wanted.driver_version} is pinned.",
            "Another driver is installed beside the package, or the host booted the old one.",
            "Remove the other, as one of NVIDIA's .run file (`nvidia-uninstall`), and reboot.")
    if driver and loaded and driver != loaded:
        yield Finding(
            "error", f"The kernel module is {loaded}, and the driver is {driver}.",
            "The driver was updated under a module that stayed loaded, and engines cannot start.",
            "Reboot the host.")
    if facts["module_built"] is False:
        yield Finding(
            "warning", f"There is no kernel module of the driver for {facts['kernel']}, which "
            "runs.", "What is loaded goes on, and cannot be loaded again.",
            f"Install linux-headers-{facts['kernel']} and run `dkms autoinstall`.")


def judge_number(wanted: Wanted, gpus: list[Gpu], host: Host) -> Iterator[Finding]:
    """Are all GPUs there?"""
    on_bus = host.gpus_on_bus() or 0
    if len(gpus) < wanted.gpus:
        yield Finding(
            "error", f"{len(gpus)} of {wanted.gpus} GPUs are there"
            f"{': ' if gpus else ''}{', '.join(map(str, gpus))}.",
            "Engines are told to use GPUs that are missing.",
            f"{LOOK}: a missing one has fallen off the bus (the PCI bus shows {on_bus}), or is not "
            "passed on to this host. Reboot it; or correct gpu_host_gpus.")
    elif on_bus > len(gpus):
        yield Finding(
            "warning", f"The PCI bus shows {on_bus} GPUs of NVIDIA, and the driver {len(gpus)}.",
            "The driver could not start the others, or they are not for it.", f"{LOOK}.")


def judge_persistence(
    wanted: Wanted, gpus: list[Gpu], facts: dict[str, Any]
) -> Iterator[Finding]:
    """Does the driver stay loaded while no engine runs?"""
    daemon = facts["persistence_daemon"]
    off = [gpu for gpu in gpus if gpu.persistence is False]
    do = ("Run `systemctl enable --now nvidia-persistenced`; where there is no such unit, install "
          "nvidia-persistenced.")
    if off:
        yield Finding(
            "error" if wanted.persistence else "warning",
            f"Persistence is off on {', '.join(map(str, off))}.",
            "Without an engine the driver lets go of the GPU: the next start takes seconds longer, "
            "and counters and settings are lost.", do)
    elif daemon not in {None, "active"} and any(gpu.persistence for gpu in gpus):
        yield Finding(
            "warning", f"Persistence is on, but nvidia-persistenced is {daemon}.",
            "It was switched on by hand, and will be off after the next boot.", do)


def judge_fabric(gpus: list[Gpu], facts: dict[str, Any], host: Host) -> Iterator[Finding]:
    """Are the GPUs joined, where NVSwitches join them?"""
    switches = [*host.names("dev/nvidia-nvswitch[0-9]*"),
                *host.names("proc/driver/nvidia-nvswitch/devices/*")]
    joined = [gpu for gpu in gpus if gpu.fabric is not None]
    if not switches and not joined:
        return
    manager, driver = facts["fabric_manager"], facts["driver"]
    why = "Engines end with CUDA's error 802 (system not yet initialized)."
    if switches and manager is None:
        yield Finding(
            "error", "There are NVSwitches, and no fabric manager.", why,
            "Install the one of the driver's version (gpu_host_fabric_manager_package).")
    elif manager and driver and manager != driver:
        yield Finding(
            "error", f"The fabric manager is {manager}, and the driver is {driver}.",
            f"It refuses to run with another driver than its own. {why}",
            "Install the one of the driver's version (gpu_host_fabric_manager_package).")
    elif switches and (unit := host.unit("nvidia-fabricmanager")) not in {None, "active"}:
        yield Finding(
            "error", f"nvidia-fabricmanager is {unit}.", why,
            "Run `systemctl enable --now nvidia-fabricmanager`, and read its journal.")
    else:
        for gpu in joined:
            if gpu.fabric != "Completed" or gpu.fabric_status not in {None, "Success"}:
                yield Finding(
                    "error", f"{gpu}: its NVLink fabric is “{gpu.fabric}” "
                    f"({gpu.fabric_status or 'without a status'}).", why,
                    "Read `journalctl -u nvidia-fabricmanager`, and restart it when the host has "
                    "no traffic.")


def judge_host(wanted: Wanted, gpus: list[Gpu], facts: dict[str, Any]) -> Iterator[Finding]:
    """Are there the files that engines open?"""
    devices = ["nvidiactl", "nvidia-uvm",
               *(f"nvidia{gpu.minor}" for gpu in gpus if gpu.minor is not None)]
    missing = [f"/dev/{name}" for name in devices if name not in facts["devices"]]
    if missing:
        yield Finding(
            "warning", f"{', '.join(missing)}: not there.",
            "Engines do not run as root and cannot make them, so CUDA may find no GPU.",
            "Run `nvidia-modprobe -c 0 -u` as root, and see that it is done at each boot.")
    if facts["shm_mib"] is not None and facts["shm_mib"] < wanted.shm_mib:
        yield Finding(
            "warning", f"/dev/shm has {facts['shm_mib']} MiB, and {wanted.shm_mib} are advised.",
            "An engine on several GPUs passes messages there, and ends when it is full.",
            "Mount it larger: `mount -o remount,size=16G /dev/shm`, and the same in /etc/fstab.")
