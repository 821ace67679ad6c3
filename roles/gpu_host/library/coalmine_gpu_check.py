#!/usr/bin/python
"""See whether vLLM can run on the GPUs of this host, and explain what speaks against it."""

# ruff: noqa: E402 - Ansible's modules say first what they are

from __future__ import annotations

DOCUMENTATION = r"""
---
module: coalmine_gpu_check
short_description: See whether a host's GPUs and driver are fit for engines
description:
  - Asks C(nvidia-smi -q -x), the kernel and systemd, and changes nothing.
  - What speaks against engines here fails the module, all of it in one message; what is only
    worth knowing is a warning. Each says what was found, why that matters and what to do.
  - What a driver does not tell (C(N/A), or a field that it does not have) is no trouble.
options:
  nvidia_smi:
    description: The program, a name in the usual folders or a path.
    type: path
    default: nvidia-smi
  timeout:
    description: Seconds that each program may take.
    type: int
    default: 30
  gpus:
    description: How many GPUs there must be.
    type: int
    default: 1
  driver_minimum:
    description: The oldest driver that will do, as C(570) or C(570.86.15). Empty, any.
    type: str
    default: ""
  driver_version:
    description:
      - The driver that must be in use, as its package writes it (C(570.172.08-1)). Empty, any.
    type: str
    default: ""
  driver_package:
    description:
      - The package that brings it. From when it was installed follows whether a reboot is due.
    type: str
    default: ""
  free_mib_minimum:
    description: MiB that must be free on each GPU. 0, whatever is free will do.
    type: int
    default: 0
  ecc:
    description: Whether all GPUs must have ECC on.
    type: bool
    default: false
  persistence:
    description: Whether it is an error, not only a warning, that persistence is off.
    type: bool
    default: false
  shm_mib_minimum:
    description: MiB that C(/dev/shm) should have, or it is warned of.
    type: int
    default: 1024
  only_driver:
    description:
      - Look only whether O(driver_version) is in use, and whether a reboot would bring that about.
        Never fails for that.
    type: bool
    default: false
  root:
    description: The folder that stands for C(/). For tests.
    type: path
    default: /
attributes:
  check_mode:
    support: full
    description: It never changes anything.
requirements:
  - Python 3.11 on the host
author:
  - the Coalmine project
"""

EXAMPLES = r"""
- name: Two GPUs with ECC, and a driver that this vLLM runs with
  coalmine_gpu_check:
    gpus: 2
    driver_minimum: "570"
    ecc: true

- name: See whether the driver that was installed is in use
  coalmine_gpu_check:
    driver_package: nvidia-driver
    driver_version: 570.172.08-1
    only_driver: true
  register: driver
"""

RETURN = r"""
msg:
  description: What was found, for people.
  type: str
  returned: always
gpus:
  description:
    - Each GPU as its driver tells it, in C(nvidia-smi)'s order. What it does not tell is null.
  type: list
  elements: dict
  returned: when GPUs could be asked
  sample:
    - index: 0
      uuid: GPU-6d1c8ab5-0f1e-4a53-9f0e-3c2b7a1d0e01
      name: NVIDIA H100 80GB HBM3
      minor: 0
      total_mib: 81559
      free_mib: 81004
      persistence: true
      ecc: true
      ecc_pending: true
      uncorrected: 0
      uncorrected_ever: 0
      sram_worn: false
      repair_pending: false
      repair_failed: false
      recovery: None
      mig: false
      mig_pending: false
      mig_devices: 0
      fabric: Completed
      fabric_status: Success
      lost: null
      processes: [{pid: 4711, name: VLLM::EngineCore, mib: 70100}]
host:
  description: The host as it is. What cannot be known is null.
  type: dict
  returned: when GPUs could be asked
  sample:
    kernel: 6.1.0-27-amd64
    module_built: true
    module_loaded: 570.172.08
    driver: 570.172.08
    persistence_daemon: active
    fabric_manager: 570.172.08
    shm_mib: 515841
    shm_free_mib: 515841
    open_files: 1048576
    devices: [nvidia-uvm, nvidia0, nvidiactl]
findings:
  description: What was found, each with C(severity), C(what), C(why) and C(do).
  type: list
  elements: dict
  returned: unless O(only_driver)
driver_loaded:
  description: Whether O(driver_version) is in use.
  type: bool
  returned: with O(only_driver)
reboot_needed:
  description: Whether it was installed since the last boot and is not in use.
  type: bool
  returned: with O(only_driver)
"""

import contextlib
import os
import re
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple
from xml.etree import ElementTree

from ansible.module_utils.basic import AnsibleModule

MIB = 1 << 20
NVIDIA = "0x10de"  # the vendor on the PCI bus
PROGRAMS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
VERSION = re.compile(r"\d+(?:\.\d+)+")
PLAIN_VERSION = re.compile(r"\d+(?:\.\d+)*")
# nvidia-drm.ko and others come with the driver, nvidiafb.ko and others with the kernel.
DRIVER_MODULE = re.compile(r"nvidia(?!-(drm|modeset|uvm|peermem|fs|vgpu-vfio|wmi))(-[\w.-]+)?"
                           r"\.ko(\.\w+)?")
# What a driver writes instead of a value that it does not have.
UNTOLD = {"", "n/a", "[n/a]", "requested functionality has been deprecated"}
# Where broken memory waits for a reset to be replaced, and where that failed: rows since Ampere,
# pages before, channels and more since Blackwell.
PENDING = ("remapped_rows/remapped_row_pending", "retired_pages/pending_retirement",
           "retired_pages/pending_blacklist", "ecc_errors/channel_repair_pending",
           "ecc_errors/tpc_repair_pending")
FAILED = ("remapped_rows/remapped_row_failure", "ecc_errors/unrepairable_memory")
LOST = re.compile(r"gpu is lost|gpu requires reset", re.IGNORECASE)
SILENT = "couldn't communicate with the nvidia driver"
MISMATCH = "driver/library version mismatch"
NO_GPU = "no devices were found"
LOOK = "Read `dmesg | grep -e NVRM -e Xid`"


class Finding(NamedTuple):
    """Something to tell the operator, in whole sentences."""

    severity: Literal["error", "warning"]
    what: str
    why: str
    do: str

    def __str__(self) -> str:
        return f"{self.what} {self.why} {self.do}"


class Unusable(Exception):
    """The GPUs cannot even be asked; the finding says why."""

    def __init__(self, what: str, why: str, do: str):
        super().__init__(what)
        self.finding = Finding("error", what, why, do)


class Wrong(Exception):
    """An argument makes no sense."""


class Gpu(NamedTuple):
    """A GPU as its driver tells it; None where it does not tell."""

    number: int  # nvidia-smi's index
    uuid: str | None
    name: str | None
    minor: int | None  # of /dev/nvidia<minor>
    total_mib: int | None
    free_mib: int | None
    persistence: bool | None
    ecc: bool | None
    ecc_pending: bool | None
    uncorrected: int | None  # since the driver was loaded
    uncorrected_ever: int | None
    sram_worn: bool | None
    repair_pending: bool | None
    repair_failed: bool | None
    recovery: str | None  # "None" is the driver's own word for: nothing to do
    mig: bool | None
    mig_pending: bool | None
    mig_devices: int
    fabric: str | None
    fabric_status: str | None
    lost: str | None
    processes: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"GPU {self.number} ({self.name or 'without a name'}, {self.uuid or 'without UUID'})"

    def told(self) -> dict[str, Any]:
        """What the caller is told."""
        facts = self._asdict()
        return {"index": facts.pop("number"), **facts}


# ---------------------------------------------------------------------------- what a driver tells


def parse(document: str) -> tuple[str | None, list[Gpu]]:
    """Return the driver's version and the GPUs, as nvidia-smi tells them.

    Raises ElementTree.ParseError for what is no XML or not nvidia-smi's.
    """
    begin, end = document.find("<"), document.rfind(">") + 1  # it may warn before and after
    log = ElementTree.fromstring(document[begin:end] if end else document)
    if log.tag != "nvidia_smi_log":
        raise ElementTree.ParseError(f"its root is {log.tag}, not nvidia_smi_log")
    gpus = [_parse_gpu(number, gpu) for number, gpu in enumerate(log.findall("gpu"))]
    return _text(log, "driver_version"), gpus


def _parse_gpu(number: int, gpu: ElementTree.Element) -> Gpu:
    lost = [text.strip() for text in gpu.itertext() if LOST.search(text)]
    return Gpu(
        number=number,
        uuid=_text(gpu, "uuid"),
        name=_text(gpu, "product_name"),
        minor=_number(gpu, "minor_number"),
        total_mib=_number(gpu, "fb_memory_usage/total"),
        free_mib=_number(gpu, "fb_memory_usage/free"),
        persistence=_flag(gpu, "persistence_mode"),
        ecc=_flag(gpu, "ecc_mode/current_ecc"),
        ecc_pending=_flag(gpu, "ecc_mode/pending_ecc"),
        uncorrected=_uncorrected(gpu.find("ecc_errors/volatile")),
        uncorrected_ever=_uncorrected(gpu.find("ecc_errors/aggregate")),
        sram_worn=_flag(gpu, "ecc_errors/aggregate/sram_threshold_exceeded"),
        repair_pending=_any(gpu, *PENDING),
        repair_failed=_any(gpu, *FAILED),
        recovery=_recovery(gpu),
        mig=_flag(gpu, "mig_mode/current_mig"),
        mig_pending=_flag(gpu, "mig_mode/pending_mig"),
        mig_devices=len(gpu.findall("mig_devices/mig_device")),
        fabric=_text(gpu, "fabric/state"),
        fabric_status=_text(gpu, "fabric/status"),
        lost=lost[0] if lost else None,
        processes=[{"pid": _number(process, "pid"), "name": _text(process, "process_name"),
                    "mib": _number(process, "used_memory")}
                   for process in gpu.findall("processes/process_info")],
    )


def _text(element: ElementTree.Element, path: str) -> str | None:
    text = (element.findtext(path) or "").strip()
    return None if text.lower() in UNTOLD else text


def _flag(element: ElementTree.Element, path: str) -> bool | None:
    """Whether a field says Enabled or Yes; None for any word that is not one of a switch."""
    words = {"enabled": True, "yes": True, "disabled": False, "no": False}
    return words.get((_text(element, path) or "").lower())


def _any(element: ElementTree.Element, *paths: str) -> bool | None:
    """Whether one of the fields says yes; None where none says anything."""
    flags = [flag for path in paths if (flag := _flag(element, path)) is not None]
    return any(flags) if flags else None


def _number(element: ElementTree.Element, path: str) -> int | None:
    """The whole number that a field such as "81559 MiB" begins with."""
    found = re.match(r"\d+\b", _text(element, path) or "")
    return int(found.group()) if found else None


def _uncorrected(errors: ElementTree.Element | None) -> int | None:
    """The uncorrected errors of all kinds of memory together.

    GPUs since Turing count them by kind; those before, single and double bits with a total.
    """
    if errors is None:
        return None
    paths = [child.tag for child in errors if "uncorrectable" in child.tag]
    counts = [_number(errors, path) for path in [*paths, "double_bit/total"]]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _recovery(gpu: ElementTree.Element) -> str | None:
    """What the driver asks for, in its words; older drivers have two questions for it."""
    if (action := _text(gpu, "gpu_recovery_action")) is not None:
        return action
    if _flag(gpu, "gpu_reset_status/reset_required"):
        return "Reset"
    if _flag(gpu, "gpu_reset_status/drain_and_reset_recommended"):
        return "Drain and Reset"
    return None


# ---------------------------------------------------------------------------- this host


class Output(NamedTuple):
    """How a program ended, and what it printed."""

    code: int
    text: str  # of both streams


class Host:
    """The machine under `root`: its files, and its programs."""

    def __init__(self, root: str, timeout: int):
        self.root = Path(root)
        self.timeout = timeout
        self.kernel = os.uname().release

    def read(self, path: str) -> str | None:
        """The text of a file; None where it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path).exists()

    def names(self, pattern: str) -> list[str]:
        """The names of the files that fit."""
        return sorted(path.name for path in self.root.glob(pattern))

    def program(self, name: str) -> str | None:
        """The path of a program; None where it is not on this host."""
        paths = [Path(name)] if "/" in name else [self.root / at / name for at in PROGRAMS]
        return next((str(path) for path in paths
                     if path.is_file() and os.access(path, os.X_OK)), None)

    def run(self, *command: str) -> Output | None:
        """Run a program to its end; None where it took too long or could not be started."""
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"},
                start_new_session=True)
        except OSError:
            return None
        try:
            text, _ = process.communicate(timeout=self.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            # One that hangs in the kernel is reached by no signal, and is left behind.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=1)
            return None
        return Output(process.returncode, text.decode("utf-8", "replace"))

    def ask(self, name: str, *arguments: str) -> str | None:
        """What a program prints; None where it is not here or does not end."""
        program = self.program(name)
        output = self.run(program, *arguments) if program else None
        return output.text.strip() if output else None

    def kernels(self) -> dict[str, bool]:
        """The kernels with modules here, and whether the driver was built for each."""
        found = {}
        for folder in sorted(self.root.glob("lib/modules/*")):
            names = (name for _, _, files in os.walk(folder) for name in files)
            found[folder.name] = any(DRIVER_MODULE.fullmatch(name) for name in names)
        return found

    def loaded(self) -> str | None:
        """The version of the kernel module that is loaded."""
        if (version := self.read("sys/module/nvidia/version")) is not None:
            return version
        found = VERSION.search(self.read("proc/driver/nvidia/version") or "")
        return found.group() if found else None

    def is_loaded(self) -> bool:
        """Whether the kernel module is loaded, of whatever version."""
        return self.exists("sys/module/nvidia") or self.loaded() is not None

    def secure_boot(self) -> bool:
        """Whether the firmware lets the kernel load signed modules only."""
        for path in (self.root / "sys/firmware/efi/efivars").glob("SecureBoot-*"):
            return path.read_bytes()[-1:] == b"\1"
        return False

    def gpus_on_bus(self) -> int | None:
        """How many of NVIDIA's GPUs the PCI bus shows; None where there is none to be seen."""
        devices = [*self.root.glob("sys/bus/pci/devices/*")]
        if not devices:
            return None
        return sum(self.read(f"sys/bus/pci/devices/{device.name}/vendor") == NVIDIA
                   and (self.read(f"sys/bus/pci/devices/{device.name}/class") or "")
                   .startswith("0x03") for device in devices)

    def unit(self, name: str) -> str | None:
        """What systemd says of a unit, such as `active`."""
        return self.ask("systemctl", "is-active", name)

    def fabric_manager(self) -> str | None:
        """The version of the fabric manager."""
        found = VERSION.search(self.ask("nv-fabricmanager", "--version") or "")
        return found.group() if found else None

    def installed_since_boot(self, package: str) -> bool:
        """Whether dpkg wrote the package's list of files after the last boot."""
        booted = re.search(r"^btime (\d+)$", self.read("proc/stat") or "", re.MULTILINE)
        lists = [*self.root.glob(f"var/lib/dpkg/info/{package}.list"),
                 *self.root.glob(f"var/lib/dpkg/info/{package}:*.list")]
        return bool(booted and any(path.stat().st_mtime >= int(booted.group(1)) for path in lists))

    def facts(self, driver: str | None) -> dict[str, Any]:
        """What the operator is told of the host."""
        kernels = self.kernels()
        facts: dict[str, Any] = {
            "kernel": self.kernel, "module_built": kernels.get(self.kernel),
            "module_loaded": self.loaded(), "driver": driver,
            "persistence_daemon": self.unit("nvidia-persistenced"),
            "fabric_manager": self.fabric_manager(), "shm_mib": None, "shm_free_mib": None,
            "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            "devices": self.names("dev/nvidia*"),
        }
        if self.exists("dev/shm"):
            size = os.statvfs(self.root / "dev/shm")
            facts["shm_mib"] = size.f_blocks * size.f_frsize // MIB
            facts["shm_free_mib"] = size.f_bavail * size.f_frsize // MIB
        return facts


# ---------------------------------------------------------------------------- asking the driver


def ask_driver(host: Host, nvidia_smi: str) -> tuple[str | None, list[Gpu], list[Finding]]:
    """Return the driver's version, the GPUs, and what nvidia-smi complained of.

    Raises Unusable where they cannot be had.
    """
    program = host.program(nvidia_smi)
    if program is None:
        why, do = why_no_driver(host)
        raise Unusable(f"There is no {nvidia_smi} on this host.", why, do)
    output = host.run(program, "-q", "-x")
    if output is None:
        raise Unusable(
            f"nvidia-smi did not answer within {host.timeout} s.",
            "The driver hangs, or a GPU has fallen off the bus, and engines would hang too.",
            f"{LOOK}, and reboot the host. Should it only be slow, as without persistence, give "
            "it longer (timeout, in the role gpu_host_timeout).")
    if output.code and "</nvidia_smi_log>" not in output.text:
        raise _no_answer(host, output)
    try:
        driver, gpus = parse(output.text)
    except ElementTree.ParseError as problem:
        raise Unusable(
            f"What nvidia-smi printed cannot be read ({problem}): {_line(output.text)}",
            "Nothing is known of the GPUs.",
            "Run `nvidia-smi -q -x` by hand; parts of two drivers that are installed together are "
            "the usual cause.") from None
    complaints = []
    if output.code:
        complaints.append(Finding(
            "warning", f"nvidia-smi ended with {output.code}: "
            f"{_line(output.text.rpartition('>')[2])}",
            "It told of the GPUs all the same, but something is wrong with one"
            f"{': its infoROM is corrupted' if output.code == 14 else ''}.",
            "Look the number up in `man nvidia-smi`, and have the GPU checked."))
    return driver, gpus, complaints


def _no_answer(host: Host, output: Output) -> Unusable:
    """What it means that nvidia-smi failed."""
    said = output.text.lower()
    if MISMATCH in said or output.code == 18:
        library = re.search(r"NVML library version: (\S+)", output.text)
        return Unusable(
            f"The driver's kernel module is {host.loaded() or 'of another version'}, and its "
            f"libraries are {library.group(1) if library else 'of another'}.",
            "The driver was updated under a module that stayed loaded. Engines that run go on; "
            "none can start.",
            "Reboot the host. So that it does not happen again, pin the driver "
            "(gpu_host_driver_package).")
    if SILENT in said or output.code == 9:
        why, do = why_no_driver(host)
        return Unusable("nvidia-smi cannot reach the driver.", why, do)
    if LOST.search(said) or output.code in {15, 16}:
        return Unusable(
            f"A GPU is lost: {_line(output.text)}",
            "It has fallen off the bus, or needs a reset, and engines cannot use it.",
            f"{LOOK}, and reboot the host. If it comes back lost, the GPU, its power or its seat "
            "is at fault.")
    if NO_GPU in said:
        seen = host.gpus_on_bus()
        return Unusable(
            "The driver is loaded and finds no GPU.",
            "The PCI bus shows none either." if seen == 0 else
            "A GPU that is there could not be started, or this driver is too old for it.",
            "See whether this is the right host, and whether the GPU is passed on to it."
            if seen == 0 else f"{LOOK}; `RmInitAdapter failed` means the GPU or its power.")
    return Unusable(
        f"nvidia-smi ended with {output.code}: {_line(output.text)}",
        "Nothing is known of the GPUs.",
        f"Look the number up in `man nvidia-smi`. {LOOK}.")


def _line(text: str) -> str:
    """The beginning of a text, on one line."""
    words = " ".join(text.split()) or "it printed nothing"
    line = words if len(words) <= 200 else words[:200] + "…"
    return line if line.endswith((".", "…")) else line + "."


def why_no_driver(host: Host) -> tuple[str, str]:
    """Why there is no driver to talk to, and what to do about it."""
    built = [kernel for kernel, has_driver in host.kernels().items() if has_driver]
    dkms = host.ask("dkms", "status")
    dkms_says = f" `dkms status` says: {_line(dkms)}" if dkms is not None else ""
    headers = f"linux-headers-{host.kernel}"
    if host.gpus_on_bus() == 0:
        why = "The PCI bus shows no GPU of NVIDIA."
        do = ("See whether this is the right host, and whether the GPU is passed on to it. Where "
              "engines need no GPU, say so in the inventory: coalmine_gpus: false.")
    elif host.is_loaded():
        why = (f"The driver's kernel module is loaded ({host.loaded() or 'version unknown'}), but "
               "does not answer.")
        do = f"{LOOK}."
    elif host.exists("sys/module/nouveau"):
        why = "The kernel's own driver, nouveau, holds the GPUs."
        do = ("Install NVIDIA's driver, whose packages keep nouveau from loading "
              "(gpu_host_driver_package), and reboot.")
    elif not built:
        why = f"No kernel module of the driver is installed.{dkms_says}"
        do = ("Install the driver: gpu_host_driver_package and gpu_host_driver_version let the "
              f"role do it. DKMS needs {headers} to build it.")
    elif host.kernel not in built:
        why = (f"The driver's kernel module is there for {', '.join(built)}, and {host.kernel} "
               f"runs.{dkms_says}")
        do = f"Install {headers} and run `dkms autoinstall`, or boot the other kernel."
    elif host.secure_boot():
        why = ("The driver's kernel module is not loaded, and Secure Boot is on: the kernel "
               f"refuses a module whose key the firmware does not know.{dkms_says}")
        do = ("Enroll the key that signs it (`mokutil --import /var/lib/dkms/mok.pub`, then "
              "reboot and confirm at the console), or turn Secure Boot off.")
    else:
        why = (f"The driver's kernel module is there for {host.kernel}, but is not "
               f"loaded.{dkms_says}")
        do = f"Run `modprobe nvidia`. {LOOK}."
    if host.exists("run/reboot-required"):
        do = f"A reboot is pending on this host: begin with that. {do}"
    return why, do


# ---------------------------------------------------------------------------- judging


class Wanted(NamedTuple):
    """What the host must have."""

    gpus: int
    driver_minimum: str
    driver_version: str
    free_mib: int
    ecc: bool
    persistence: bool
    shm_mib: int


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
    if wanted.driver_minimum and driver and _parts(driver) < _parts(wanted.driver_minimum):
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


def upstream(version: str) -> str:
    """The driver's own version of a package's: 570.172.08 of 1:570.172.08-1.

    Raises Wrong where there is none in it.
    """
    found = VERSION.search(version.rpartition(":")[2])
    if found is None:
        raise Wrong(f"driver_version: {version!r} is not a version of a package, such as "
                    "570.172.08-1. `apt-cache policy` lists those that there are.")
    return found.group()


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


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


def judge_health(gpu: Gpu) -> Iterator[Finding]:
    """Does the driver itself ask for something?"""
    steps = {
        "reset": "Stop what uses it, and run `nvidia-smi --gpu-reset -i {0}`.",
        "bus reset": "Stop what uses it, and reboot the host.",
        "reboot": "Reboot the host.",
        "system reboot": "Reboot the host.",
        "drain p2p": "Stop all engines that use several GPUs, until the driver asks no more.",
        "drain and reset": "Take the traffic away, stop what uses it, and run "
                           "`nvidia-smi --gpu-reset -i {0}`.",
    }
    if gpu.lost:
        yield Finding("error", f"{gpu}: the driver says “{gpu.lost}”.",
                      "Engines cannot use it.", f"{LOOK}, and reboot the host.")
    elif gpu.recovery not in {None, "None"}:
        yield Finding(
            "error", f"{gpu}: the driver asks for “{gpu.recovery}”.",
            "After a fault it is to have no new work before that is done.",
            steps.get(gpu.recovery.lower(), "Take the host out, and look up what NVIDIA says of "
                      "this recovery action.").format(gpu.number))


def judge_memory(gpu: Gpu) -> Iterator[Finding]:
    """Does its memory hold what is written to it?

    NVIDIA: a remapping that is pending affects neither what runs nor what starts.
    """
    reset = f"When it has no traffic: `nvidia-smi --gpu-reset -i {gpu.number}`, or reboot."
    if gpu.uncorrected:
        untold = gpu.recovery is None
        yield Finding(
            "error" if untold else "warning",
            f"{gpu}: {gpu.uncorrected} uncorrected memory errors since the driver was loaded.",
            "What was in that memory is lost, and this driver does not say whether the GPU may "
            "still be used." if untold else
            "Each ends the engine that used the memory. The driver says what it asks for: "
            f"{gpu.recovery}.",
            f"{LOOK}. {reset}")
    if gpu.repair_failed:
        yield Finding(
            "error", f"{gpu}: broken memory of it could not be replaced by spare.",
            "There is none left, and it will fail again.",
            "Take it out of service, run NVIDIA's field diagnostic, and have it replaced.")
    if gpu.sram_worn:
        yield Finding(
            "error", f"{gpu}: its SRAM has had more errors than NVIDIA allows.",
            "It will fail again.",
            "Take it out of service, run NVIDIA's field diagnostic, and have it replaced.")
    if gpu.repair_pending:
        yield Finding(
            "warning", f"{gpu}: broken memory waits to be replaced by spare.",
            "It is not used meanwhile, and engines may run.", reset)


def judge_switches(wanted: Wanted, gpu: Gpu) -> Iterator[Finding]:
    """Is it set as engines need it?"""
    if wanted.ecc and not gpu.ecc:
        yield Finding(
            "error", f"{gpu}: ECC is {'not there' if gpu.ecc is None else 'off'}.",
            "Errors of its memory would go unnoticed into answers.",
            "Use a GPU that has it, or do not ask for it (gpu_host_ecc: false)." if gpu.ecc is None
            else f"Run `nvidia-smi -i {gpu.number} --ecc-config=1`, and reboot.")
    elif gpu.ecc is not None and gpu.ecc_pending not in {None, gpu.ecc}:
        yield Finding(
            "warning", f"{gpu}: ECC will be {'on' if gpu.ecc_pending else 'off'} after a reboot.",
            "Somebody has switched it.", "Reboot the host when it has no traffic.")
    if gpu.mig and not gpu.mig_devices:
        yield Finding(
            "error", f"{gpu}: MIG is on, and it is not cut into instances.",
            "Engines see no device there.",
            f"Make instances, or run `nvidia-smi -i {gpu.number} --multi-instance-gpu=0` and "
            "reset it.")
    elif gpu.mig:
        yield Finding(
            "warning", f"{gpu}: MIG is on, with {gpu.mig_devices} instances.",
            "An engine sees one instance, and its share of memory is of that.",
            "Name instances in the slots' `devices`, by UUID (`nvidia-smi -L`).")
    if gpu.mig is not None and gpu.mig_pending not in {None, gpu.mig}:
        yield Finding(
            "warning", f"{gpu}: MIG will be {'on' if gpu.mig_pending else 'off'} after a reset.",
            "Somebody has switched it.", "Reset the GPU when it has no traffic.")
    if wanted.free_mib and not gpu.lost and (gpu.free_mib or 0) < wanted.free_mib:
        holders = ", ".join(f"{process['name']} ({process['pid']}, {process['mib']} MiB)"
                            for process in gpu.processes) or "no process that the driver tells of"
        known = "an unknown number of" if gpu.free_mib is None else gpu.free_mib
        yield Finding(
            "error", f"{gpu}: {known} MiB of {gpu.total_mib} are free, and {wanted.free_mib} are "
            "asked for.", f"They are held by {holders}.",
            "Stop what is not to be there, or ask for less (gpu_host_free_mib).")


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


# ---------------------------------------------------------------------------- the module


def look_at_driver(host: Host, arguments: dict[str, Any]) -> dict[str, Any]:
    """Say whether the driver that was installed is in use, and whether a reboot is due."""
    want, package = upstream(arguments["driver_version"]), arguments["driver_package"]
    try:
        driver, _, _ = ask_driver(host, arguments["nvidia_smi"])
        instead = f"{driver} is in use"
    except Unusable as problem:
        driver, instead = None, problem.finding.what.rstrip(".")
    loaded = host.loaded()
    in_use = driver == want and loaded in {None, want}
    due = not in_use and host.installed_since_boot(package)
    if in_use:
        msg = f"Driver {want} is in use."
    elif due:
        msg = (f"{package} {arguments['driver_version']} was installed since the last boot, and is "
               f"not in use: {instead}. The host must be rebooted.")
    else:
        msg = f"{package} {arguments['driver_version']} is not in use: {instead}."
    return {"msg": msg, "driver_loaded": in_use, "reboot_needed": due}


def look(host: Host, arguments: dict[str, Any]) -> dict[str, Any]:
    """Say what is here, and what speaks against it."""
    wanted = Wanted(
        gpus=arguments["gpus"], driver_minimum=arguments["driver_minimum"],
        driver_version=arguments["driver_version"], free_mib=arguments["free_mib_minimum"],
        ecc=arguments["ecc"], persistence=arguments["persistence"],
        shm_mib=arguments["shm_mib_minimum"])
    try:
        driver, gpus, findings = ask_driver(host, arguments["nvidia_smi"])
    except Unusable as problem:
        return {"findings": [problem.finding]}
    facts = host.facts(driver)
    findings += judge(wanted, gpus, facts, host)
    kinds = ", ".join(sorted({gpu.name or "without a name" for gpu in gpus}))
    return {"findings": findings, "gpus": [gpu.told() for gpu in gpus], "host": facts,
            "msg": f"{len(gpus)} GPUs are fit for engines: {kinds}, driver {driver}."}


def check(arguments: dict[str, Any]) -> None:
    """Refuse arguments that make no sense, with Wrong."""
    for name in ("timeout", "gpus"):
        if arguments[name] < 1:
            raise Wrong(f"{name}: {arguments[name]} is less than 1.")
    for name in ("free_mib_minimum", "shm_mib_minimum"):
        if arguments[name] < 0:
            raise Wrong(f"{name}: {arguments[name]} is less than 0.")
    least = arguments["driver_minimum"]
    if least and not PLAIN_VERSION.fullmatch(least):
        raise Wrong(f"driver_minimum: {least!r} is not a version, such as 570 or 570.86.15.")
    if arguments["driver_version"]:
        upstream(arguments["driver_version"])
    if arguments["only_driver"] and not (arguments["driver_version"]
                                         and arguments["driver_package"]):
        raise Wrong("only_driver: give driver_package and driver_version too.")


def main() -> None:
    """Be an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "nvidia_smi": {"type": "path", "default": "nvidia-smi"},
            "timeout": {"type": "int", "default": 30},
            "gpus": {"type": "int", "default": 1},
            "driver_minimum": {"type": "str", "default": ""},
            "driver_version": {"type": "str", "default": ""},
            "driver_package": {"type": "str", "default": ""},
            "free_mib_minimum": {"type": "int", "default": 0},
            "ecc": {"type": "bool", "default": False},
            "persistence": {"type": "bool", "default": False},
            "shm_mib_minimum": {"type": "int", "default": 1024},
            "only_driver": {"type": "bool", "default": False},
            "root": {"type": "path", "default": "/"},
        },
        supports_check_mode=True,
    )
    arguments = module.params
    try:
        check(arguments)
    except Wrong as problem:
        module.fail_json(msg=str(problem))
    host = Host(arguments["root"], arguments["timeout"])
    if arguments["only_driver"]:
        module.exit_json(changed=False, **look_at_driver(host, arguments))
    result = look(host, arguments)
    findings = result["findings"]
    result["findings"] = [finding._asdict() for finding in findings]
    for finding in findings:
        if finding.severity == "warning":
            module.warn(str(finding))
    errors = [str(finding) for finding in findings if finding.severity == "error"]
    if len(errors) > 1:
        errors = [f"({number}) {error}" for number, error in enumerate(errors, 1)]
    if errors:
        result["msg"] = "Engines cannot run on this host. " + " ".join(errors)
        module.fail_json(**result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
