"""What speaks against a GPU: its health, its memory, its switches."""

from __future__ import annotations

from collections.abc import Iterator

from .findings import LOOK, Finding
from .telling import Gpu
from .wanted import Wanted


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
