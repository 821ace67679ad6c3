"""The driver is asked, and where it does not answer, the host is asked why."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from .findings import LOOK, Finding, Unusable
from .host import Host, Output
from .telling import LOST, Gpu, parse

SILENT = "couldn't communicate with the nvidia driver"
MISMATCH = "driver/library version mismatch"
NO_GPU = "no devices were found"


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
