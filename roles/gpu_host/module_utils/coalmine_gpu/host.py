"""This machine: its files and its programs, read and never changed."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from .versions import VERSION

MIB = 1 << 20
NVIDIA = "0x10de"  # the vendor on the PCI bus
PROGRAMS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
# nvidia-drm.ko and others come with the driver, nvidiafb.ko and others with the kernel.
DRIVER_MODULE = re.compile(r"nvidia(?!-(drm|modeset|uvm|peermem|fs|vgpu-vfio|wmi))(-[\w.-]+)?"
                           r"\.ko(\.\w+)?")


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
