"""What a driver tells of its GPUs, in the words of nvidia-smi."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from xml.etree import ElementTree

# What a driver writes instead of a value that it does not have.
UNTOLD = {"", "n/a", "[n/a]", "requested functionality has been deprecated"}
# Where broken memory waits for a reset to be replaced, and where that failed: rows since Ampere,
# pages before, channels and more since Blackwell.
PENDING = ("remapped_rows/remapped_row_pending", "retired_pages/pending_retirement",
           "retired_pages/pending_blacklist", "ecc_errors/channel_repair_pending",
           "ecc_errors/tpc_repair_pending")
FAILED = ("remapped_rows/remapped_row_failure", "ecc_errors/unrepairable_memory")
LOST = re.compile(r"gpu is lost|gpu requires reset", re.IGNORECASE)


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
