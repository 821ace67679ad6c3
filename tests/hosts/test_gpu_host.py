"""The role gpu_host: the real module, on a made-up host whose nvidia-smi prints a record."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from .plugins import load, play, program

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "gpu_host"
MODULE = "roles/gpu_host/library/coalmine_gpu_check.py"
RECORDS = Path(__file__).parent / "nvidia"
KERNEL = os.uname().release
DRIVER = "570.172.08"
PACKAGE = {"driver_package": "nvidia-driver", "driver_version": f"{DRIVER}-1"}
UUID = "GPU-0c0a1000-0000-4000-8000-00000000000"
H100 = f"GPU 0 (NVIDIA H100 80GB HBM3, {UUID}0)"
SECOND = f"GPU 1 (NVIDIA H100 80GB HBM3, {UUID}1)"
SILENT = ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure "
          "that the latest NVIDIA driver is installed and running.")


def record(name: str) -> str:
    """What nvidia-smi prints for a case of tests/hosts/nvidia."""
    return (RECORDS / f"{name}.xml").read_text()


class Host:
    """A host with two H100 and all that belongs to them; a test takes away what it is about."""

    def __init__(self, root: Path, module: Any, capsys: Any):
        self.root = root
        self.module = module
        self.capsys = capsys
        self.print(record("healthy"))
        self.program("systemctl", "echo active")
        self.write(f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko.xz")
        self.write("sys/module/nvidia/version", f"{DRIVER}\n")
        self.write("proc/stat", "cpu 1 2 3\nbtime 1700000000\nprocesses 5\n")
        for name in ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1"):
            self.write(f"dev/{name}")
        (root / "dev/shm").mkdir()
        self.on_bus("0x030200", "0x030200")

    def write(self, path: str, text: str = "") -> Path:
        """Put a file on the host."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)
        return self.root / path

    def remove(self, *paths: str) -> None:
        """Take files away."""
        for path in paths:
            (self.root / path).unlink()

    def program(self, name: str, script: str) -> None:
        """Put a program on the host."""
        self.write(f"usr/bin/{name}", f"#!/bin/sh\n{script}\n").chmod(0o755)

    def print(self, text: str, code: int = 0) -> None:
        """Let nvidia-smi print this, and end so. It answers to what it is to be asked only."""
        said = self.write("said", text)
        self.program("nvidia-smi", f'test "$*" = "-q -x" || exit 2\n/bin/cat {said}\nexit {code}')

    def change(self, name: str, old: str, new: str, count: int = 1) -> None:
        """Let nvidia-smi print a record in which something else stands."""
        assert record(name).count(old) >= count, old
        self.print(record(name).replace(old, new, count))

    def on_bus(self, *classes: str, vendor: str = "0x10de") -> None:
        """Put devices on the PCI bus."""
        for number, kind in enumerate(classes):
            self.write(f"sys/bus/pci/devices/0000:{number:02}:00.0/vendor", f"{vendor}\n")
            self.write(f"sys/bus/pci/devices/0000:{number:02}:00.0/class", f"{kind}\n")

    def without_driver(self, why: str = "") -> None:
        """As it is when the kernel module is not loaded."""
        self.remove("sys/module/nvidia/version")
        (self.root / "sys/module/nvidia").rmdir()
        self.print(why or SILENT, 9)

    def check(self, *, check_mode: bool = False, **arguments: Any) -> dict[str, Any]:
        """Run the module; return what it tells Ansible."""
        self.capsys.readouterr()
        given = {"root": str(self.root), **arguments, "_ansible_check_mode": check_mode}
        with patch_module_args(given), pytest.raises(SystemExit):
            self.module.main()
        return json.loads(self.capsys.readouterr().out)

    def refusal(self, **arguments: Any) -> str:
        """Run the module, which must fail; return why."""
        result = self.check(**arguments)
        assert result.get("failed"), result
        return result["msg"]

    def warnings(self, **arguments: Any) -> list[str]:
        """Run the module, which must not fail; return what it warns of."""
        result = self.check(**arguments)
        assert not result.get("failed"), result
        assert not result["changed"]
        assert {finding["severity"] for finding in result["findings"]} <= {"warning"}
        return [" ".join(finding[part] for part in ("what", "why", "do"))
                for finding in result["findings"]]

    def process(self) -> dict[str, Any]:
        """Run the module in a process of its own, as hosts do; return what that prints."""
        arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {"root": str(self.root)}})
        done = subprocess.run(program(MODULE), input=arguments, check=False,
                              capture_output=True, text=True)
        return json.loads(done.stdout)


@pytest.fixture(scope="session")
def module() -> Any:
    return load(MODULE)


@pytest.fixture
def host(tmp_path, module, capsys, monkeypatch) -> Host:
    # Tests of filters load Ansible's controller, and modules of that process then print warnings
    # instead of returning them. On a host there is no controller.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False)
    return Host(tmp_path, module, capsys)


def is_told(text: str) -> None:
    """A message is what was found, why it matters and what to do: three sentences at least."""
    assert len(re.findall(r"[.”)`…](?= |$)", text)) >= 3, text
    assert "\n" not in text
    assert "None " not in text


# ---------------------------------------------------------------------------- in order


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_host_in_order_is_told_with_all_its_figures_and_without_a_warning(host, check_mode):
    result = host.check(check_mode=check_mode)
    assert not result["changed"]
    assert result["msg"] == (
        f"2 GPUs are fit for engines: NVIDIA H100 80GB HBM3, driver {DRIVER}.")
    assert result["findings"] == []
    first, second = result["gpus"]
    assert first == {
        "index": 0, "uuid": f"{UUID}0", "name": "NVIDIA H100 80GB HBM3", "minor": 0,
        "total_mib": 81559, "free_mib": 10904, "persistence": True, "ecc": True,
        "ecc_pending": True, "uncorrected": 0, "uncorrected_ever": 0, "sram_worn": False,
        "repair_pending": False, "repair_failed": False, "recovery": "None", "mig": False,
        "mig_pending": False, "mig_devices": 0, "fabric": None, "fabric_status": None,
        "lost": None,
        "processes": [{"pid": 4711, "name": "VLLM::EngineCore", "mib": 70100}],
    }
    assert (second["index"], second["free_mib"], second["processes"]) == (1, 81004, [])


def test_the_host_itself_is_told_too(host):
    facts = host.check()["host"]
    assert facts["kernel"] == KERNEL
    assert facts["module_built"] is True
    assert facts["module_loaded"] == facts["driver"] == DRIVER
    assert facts["persistence_daemon"] == "active"
    assert facts["fabric_manager"] is None
    assert facts["shm_mib"] >= facts["shm_free_mib"] > 0
    assert facts["open_files"] != 0
    assert facts["devices"] == ["nvidia-uvm", "nvidia0", "nvidia1", "nvidiactl"]


def test_in_a_process_of_its_own_it_is_silent_where_all_is_in_order(host):
    result = host.process()
    assert "2 GPUs are fit" in result["msg"]
    assert "warnings" not in result


def test_in_a_process_of_its_own_its_warnings_are_ansibles(host):
    host.print(record("memory_errors"))
    (host.root / "dev/nvidia-uvm").unlink()
    result = host.process()
    assert not result.get("failed")
    assert len(result["warnings"]) == 3
    for said in ("2 uncorrected memory errors", "waits to be replaced by", "/dev/nvidia-uvm: not"):
        assert said in str(result["warnings"])


def test_nothing_on_the_host_is_changed(host):
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in host.root.rglob("*")}

    before = files()
    host.check()
    host.check(**PACKAGE, only_driver=True)
    assert files() == before


def test_an_older_driver_tells_less_and_that_is_no_trouble(host):
    host.print(record("older_driver"))
    host.write("sys/module/nvidia/version", "535.183.06")
    host.on_bus("0x030200", vendor="0x10de")
    host.on_bus("0x030200", "0x020000")
    assert host.warnings(ecc=True) == []
    (gpu,) = host.check()["gpus"]
    assert (gpu["recovery"], gpu["uncorrected"]) == (None, 0)


def test_a_consumer_card_tells_little_and_that_is_no_trouble(host):
    host.print(record("consumer"))
    host.on_bus("0x030000", "0x040300")
    assert host.warnings(free_mib_minimum=24000) == []
    (gpu,) = host.check()["gpus"]
    untold = ("ecc", "uncorrected", "uncorrected_ever", "repair_pending", "recovery", "mig")
    assert [gpu[name] for name in untold] == [None] * len(untold)


# ---------------------------------------------------------------------------- what is wrong


def test_all_errors_are_told_at_once_and_what_is_less_is_warned_of(host):
    host.change("reset", "<persistence_mode>Enabled", "<persistence_mode>Disabled")
    result = host.check(gpus=4, driver_minimum="580")
    assert result["failed"]
    assert result["msg"].startswith("Engines cannot run on this host. (1) The driver is")
    assert " (2) 2 of 4 GPUs are there" in result["msg"]
    assert f" (3) {SECOND}: the driver asks for “Reset”." in result["msg"]
    assert "Persistence" not in result["msg"]
    assert result["findings"][3]["what"] == f"Persistence is off on {H100}."
    assert [finding["severity"] for finding in result["findings"]] == ["error"] * 3 + ["warning"]
    assert set(result["findings"][0]) == {"severity", "what", "why", "do"}
    assert len(result["gpus"]) == 2


@pytest.mark.parametrize(("said", "do"), [
    ("Reset", "Stop what uses it, and run `nvidia-smi --gpu-reset -i 1`."),
    ("Reboot", "Reboot the host."),
    ("Drain P2P", "Stop all engines that use several GPUs, until the driver asks no more."),
    ("Drain and Reset", "Take the traffic away, stop what uses it, and run "
                        "`nvidia-smi --gpu-reset -i 1`."),
    ("Recover IMEX Domain", "Take the host out, and look up what NVIDIA says of this recovery"),
    ("A Word To Come", "Take the host out, and look up what NVIDIA says of this recovery"),
])
def test_whatever_recovery_a_driver_asks_for_is_an_error(host, said, do):
    host.change("reset", "action>Reset<", f"action>{said}<")
    why = host.refusal()
    assert f"{SECOND}: the driver asks for “{said}”. After a fault" in why
    assert do in why
    assert H100 not in why
    is_told(why)


@pytest.mark.parametrize(("field", "word"), [
    ("reset_required", "Reset"), ("drain_and_reset_recommended", "Drain and Reset")])
def test_an_older_driver_asks_for_recovery_in_its_own_fields(host, field, word):
    host.change("older_driver", f"<{field}>No", f"<{field}>Yes")
    assert f"the driver asks for “{word}”" in host.refusal()


def test_memory_errors_are_a_warning_where_the_driver_says_that_the_gpu_may_be_used(host):
    host.print(record("memory_errors"))
    errors, remap = host.warnings()
    assert errors.startswith(f"{H100}: 2 uncorrected memory errors since the driver was loaded. ")
    assert "The driver says what it asks for: None." in errors
    assert remap == (
        f"{H100}: broken memory waits to be replaced by spare. It is not used meanwhile, and "
        "engines may run. When it has no traffic: `nvidia-smi --gpu-reset -i 0`, or reboot.")
    first, second = host.check()["gpus"]
    assert (first["uncorrected"], first["uncorrected_ever"]) == (2, 3)
    assert first["repair_pending"]
    assert (second["uncorrected"], second["uncorrected_ever"]) == (0, 0)


def test_memory_errors_are_an_error_where_the_driver_does_not_say(host):
    host.change("memory_errors", "\t\t<gpu_recovery_action>None</gpu_recovery_action>\n", "")
    why = host.refusal()
    assert f"{H100}: 2 uncorrected memory errors since the driver was loaded. What was in" in why
    assert "this driver does not say whether the GPU may still be used" in why
    is_told(why)


def test_memory_errors_of_gpus_before_turing_are_counted_too(host):
    old = record("older_driver")
    volatile = re.search(r"<volatile>.*?</volatile>", old, re.DOTALL).group()
    host.print(old.replace(volatile, "<volatile><double_bit><device_memory>7</device_memory>"
                                     "<total>7</total></double_bit></volatile>"))
    assert "7 uncorrected memory errors since" in host.refusal()


def test_errors_of_a_time_before_the_driver_was_loaded_are_told_and_nothing_more(host):
    host.change("healthy", "<aggregate>\n\t\t\t\t<sram_correctable>0</sram_correctable>\n\t\t\t\t"
                "<sram_uncorrectable_parity>0", "<aggregate>\n\t\t\t\t<sram_correctable>0"
                "</sram_correctable>\n\t\t\t\t<sram_uncorrectable_parity>9")
    assert host.warnings() == []
    assert host.check()["gpus"][0]["uncorrected_ever"] == 9


@pytest.mark.parametrize("field", ["pending_retirement", "pending_blacklist"])
def test_pages_that_wait_to_be_retired_are_a_warning(host, field):
    host.change("healthy", f"<{field}>N/A", f"<{field}>Yes")
    (said,) = host.warnings()
    assert said.startswith(f"{H100}: broken memory waits to be replaced by spare.")


@pytest.mark.parametrize(("old", "new", "what"), [
    ("<remapped_row_failure>No", "<remapped_row_failure>Yes",
     "broken memory of it could not be replaced by spare. There is none left"),
    ("<sram_threshold_exceeded>No", "<sram_threshold_exceeded>Yes",
     "its SRAM has had more errors than NVIDIA allows. It will fail again."),
])
def test_a_gpu_that_is_to_be_replaced_is_an_error(host, old, new, what):
    host.change("healthy", old, new)
    why = host.refusal()
    assert f"{H100}: {what}" in why
    assert "have it replaced" in why
    is_told(why)


@pytest.mark.parametrize("said", ["GPU is lost", "GPU requires reset"])
def test_a_lost_gpu_is_an_error_however_little_is_known_of_it(host, said):
    host.change("healthy", "<gpu_temp>31 C", f"<gpu_temp>{said}")
    why = host.refusal(free_mib_minimum=99999)
    assert f"{H100}: the driver says “{said}”. Engines cannot use it. Read `dmesg" in why
    assert f"{H100}: 10904 MiB" not in why


# ---------------------------------------------------------------------------- persistence


def test_persistence_that_is_off_is_a_warning_and_an_error_where_it_is_asked_for(host):
    host.print(record("persistence_off"))
    (said,) = host.warnings()
    assert said.startswith(f"Persistence is off on {H100}, {SECOND}. Without an engine")
    assert "systemctl enable --now nvidia-persistenced" in said
    is_told(said)
    assert host.refusal(persistence=True) == f"Engines cannot run on this host. {said}"


def test_persistence_that_was_switched_on_by_hand_is_a_warning(host):
    host.program("systemctl", "echo inactive; exit 3")
    (said,) = host.warnings(persistence=True)
    assert said.startswith("Persistence is on, but nvidia-persistenced is inactive. It was")
    is_told(said)


def test_persistence_that_is_on_is_no_trouble(host):
    assert host.warnings(persistence=True) == []


# ---------------------------------------------------------------------------- what is asked for


@pytest.mark.parametrize("minimum", ["570", "570.172", "570.172.8", "535.999", "570.172.08"])
def test_a_driver_that_is_new_enough_will_do(host, minimum):
    assert host.warnings(driver_minimum=minimum) == []


@pytest.mark.parametrize("minimum", ["571", "570.172.09", "570.200", "1000"])
def test_a_driver_that_is_too_old_is_an_error(host, minimum):
    why = host.refusal(driver_minimum=minimum)
    assert f"The driver is {DRIVER}, and {minimum} is needed. Engines made for" in why
    is_told(why)


def test_gpus_that_are_missing_are_an_error(host):
    assert host.warnings(gpus=2) == []
    why = host.refusal(gpus=8)
    assert f"2 of 8 GPUs are there: {H100}, {SECOND}. Engines are told" in why
    assert "(the PCI bus shows 2)" in why
    is_told(why)


def test_a_gpu_on_the_bus_that_the_driver_does_not_show_is_a_warning(host):
    host.on_bus("0x030200", "0x030200", "0x030200", "0x0c0330")
    (said,) = host.warnings()
    assert said.startswith("The PCI bus shows 3 GPUs of NVIDIA, and the driver 2. The driver")


def test_memory_that_engines_hold_is_no_trouble_unless_free_memory_is_asked_for(host):
    assert host.warnings() == []
    assert host.warnings(free_mib_minimum=10904) == []
    why = host.refusal(free_mib_minimum=20000)
    assert why == (
        f"Engines cannot run on this host. {H100}: 10904 MiB of 81559 are free, and 20000 are "
        "asked for. They are held by VLLM::EngineCore (4711, 70100 MiB). Stop what is not to be "
        "there, or ask for less (gpu_host_free_mib).")


def test_free_memory_that_is_not_known_is_not_enough(host):
    host.change("consumer", "<free>24067 MiB", "<free>N/A")
    assert "an unknown number of MiB of 24564 are free" in host.refusal(free_mib_minimum=1)


def test_ecc_is_judged_where_it_is_asked_for(host):
    assert host.warnings(ecc=True) == []
    host.change("healthy", "_ecc>Enabled", "_ecc>Disabled", 2)
    assert host.warnings() == []
    why = host.refusal(ecc=True)
    assert f"{H100}: ECC is off. Errors" in why
    assert "`nvidia-smi -i 0 --ecc-config=1`" in why
    is_told(why)
    host.print(record("consumer"))
    assert "ECC is not there." in host.refusal(ecc=True)


def test_ecc_that_changes_with_the_next_boot_is_a_warning(host):
    host.change("healthy", "<pending_ecc>Enabled", "<pending_ecc>Disabled")
    (said,) = host.warnings()
    assert said.startswith(f"{H100}: ECC will be off after a reboot. Somebody has switched it.")


# ---------------------------------------------------------------------------- MIG


def test_mig_is_a_warning(host):
    host.print(record("mig"))
    host.on_bus("0x030200", "0x020000")
    (said,) = host.warnings()
    assert said.startswith(f"{H100}: MIG is on, with 2 instances. An engine sees one instance")
    is_told(said)


def test_mig_without_instances_is_an_error(host):
    mig = record("mig")
    devices = re.search(r"<mig_devices>.*</mig_devices>", mig, re.DOTALL).group()
    host.print(mig.replace(devices, "<mig_devices>\nNone\n</mig_devices>"))
    why = host.refusal()
    assert f"{H100}: MIG is on, and it is not cut into instances. Engines see no device" in why
    is_told(why)


def test_mig_that_changes_with_the_next_reset_is_a_warning(host):
    host.change("healthy", "<pending_mig>Disabled", "<pending_mig>Enabled")
    (said,) = host.warnings()
    assert said.startswith(f"{H100}: MIG will be on after a reset.")


# ---------------------------------------------------------------------------- NVSwitches


def joined(host: Host, version: str | None = DRIVER, state: str = "Completed",
           status: str = "Success") -> None:
    """Let NVSwitches join the GPUs."""
    host.write("dev/nvidia-nvswitch0")
    host.write("dev/nvidia-nvswitchctl")
    host.print(record("healthy").replace("<state>N/A", f"<state>{state}")
               .replace("<status>N/A", f"<status>{status}"))
    if version:
        host.program("nv-fabricmanager", f'echo "Fabric Manager version is : {version}"')


def test_a_fabric_manager_of_the_drivers_version_is_no_trouble(host):
    joined(host)
    assert host.warnings() == []
    assert host.check()["host"]["fabric_manager"] == DRIVER


def test_a_fabric_manager_of_another_version_is_an_error(host):
    joined(host, "565.57.01")
    why = host.refusal()
    assert f"The fabric manager is 565.57.01, and the driver is {DRIVER}. It refuses" in why
    is_told(why)


def test_nvswitches_without_a_fabric_manager_are_an_error(host):
    joined(host, None)
    assert "There are NVSwitches, and no fabric manager. Engines end with" in host.refusal()


def test_a_fabric_manager_that_does_not_run_is_an_error(host):
    joined(host)
    host.program("systemctl", 'case $2 in *fabric*) echo failed; exit 3;; esac; echo active')
    assert "nvidia-fabricmanager is failed. Engines end with CUDA's error 802" in host.refusal()


@pytest.mark.parametrize(("state", "status"), [
    ("In Progress", "N/A"), ("Completed", "Insufficient Resources")])
def test_a_fabric_that_is_not_ready_is_an_error(host, state, status):
    joined(host, state=state, status=status)
    why = host.refusal()
    assert f"{H100}: its NVLink fabric is “{state}”" in why
    assert "nvidia-fabricmanager" in why


def test_a_fabric_manager_without_nvswitches_is_no_matter(host):
    host.program("nv-fabricmanager", 'echo "Fabric Manager version is : 535.1.2"')
    assert host.warnings() == []


# ---------------------------------------------------------------------------- kernel and files


def test_a_module_of_another_version_than_the_driver_needs_a_reboot(host):
    host.write("sys/module/nvidia/version", "565.57.01")
    why = host.refusal()
    assert f"The kernel module is 565.57.01, and the driver is {DRIVER}." in why
    assert why.endswith("Reboot the host.")


def test_the_modules_version_is_read_from_proc_where_sys_has_none(host):
    host.remove("sys/module/nvidia/version")
    host.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for "
               "x86_64  565.57.01  Release Build\nGCC version:  gcc version 12.2.0\n")
    assert "The kernel module is 565.57.01, and" in host.refusal()


def test_a_loaded_module_that_is_not_there_for_the_kernel_is_a_warning(host):
    host.remove(f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko.xz")
    host.write(f"lib/modules/{KERNEL}/kernel/drivers/video/fbdev/nvidia/nvidiafb.ko")
    host.write(f"lib/modules/{KERNEL}/updates/dkms/nvidia-drm.ko")
    (said,) = host.warnings()
    assert said.startswith(f"There is no kernel module of the driver for {KERNEL}, which runs.")
    assert f"linux-headers-{KERNEL}" in said


@pytest.mark.parametrize("name", ["nvidia.ko", "nvidia.ko.zst", "nvidia-current.ko",
                                  "nvidia-current-open.ko", "nvidia-tesla-470.ko"])
def test_the_module_is_known_by_the_names_that_distributions_give_it(host, name):
    host.remove(f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko.xz")
    host.write(f"lib/modules/{KERNEL}/kernel/{name}")
    assert host.warnings() == []


def test_a_container_without_kernel_modules_is_no_trouble(host):
    host.remove(f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko.xz")
    (host.root / "lib").rename(host.root / "gone")
    assert host.warnings() == []
    assert host.check()["host"]["module_built"] is None


def test_device_files_that_are_missing_are_a_warning(host):
    host.remove("dev/nvidia-uvm", "dev/nvidia1")
    (said,) = host.warnings()
    assert said.startswith("/dev/nvidia-uvm, /dev/nvidia1: not there. Engines do not run as root")
    assert "`nvidia-modprobe -c 0 -u`" in said


def test_shared_memory_that_is_small_is_a_warning(host):
    assert host.warnings(shm_mib_minimum=0) == []
    (said,) = host.warnings(shm_mib_minimum=1 << 40)
    assert re.match(r"/dev/shm has \d+ MiB, and \d+ are advised\. An engine on several", said)
    is_told(said)


# ---------------------------------------------------------------------------- no answer


def test_without_a_driver_it_says_how_to_get_one(host):
    host.remove("usr/bin/nvidia-smi", "sys/module/nvidia/version",
                f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko.xz")
    (host.root / "sys/module/nvidia").rmdir()
    result = host.check()
    assert result["msg"] == (
        "Engines cannot run on this host. There is no nvidia-smi on this host. No kernel module of "
        "the driver is installed. Install the driver: gpu_host_driver_package and "
        "gpu_host_driver_version let the role do it. DKMS needs "
        f"linux-headers-{KERNEL} to build it.")
    assert result["failed"]
    assert len(result["findings"]) == 1
    assert "gpus" not in result


@pytest.mark.parametrize("how", [(SILENT, 9), (SILENT, 1), ("", 9)])
def test_a_driver_that_nvidia_smi_cannot_reach_is_told(host, how):
    host.without_driver()
    host.print(*how)
    why = host.refusal()
    assert "nvidia-smi cannot reach the driver. The driver's kernel module is there for" in why
    assert "but is not loaded. Run `modprobe nvidia`." in why
    is_told(why)


def test_a_module_that_was_not_built_for_the_kernel_is_told_with_what_dkms_says(host):
    host.without_driver()
    host.remove(f"lib/modules/{KERNEL}/updates/dkms/nvidia.ko.xz")
    host.write("lib/modules/6.1.0-18-amd64/updates/dkms/nvidia.ko")
    host.program("dkms", f"echo 'nvidia/{DRIVER}, 6.1.0-18-amd64, x86_64: installed'")
    why = host.refusal()
    assert f"is there for 6.1.0-18-amd64, and {KERNEL} runs. `dkms status` says: nvidia/" in why
    assert ", 6.1.0-18-amd64, x86_64: installed. Install linux-headers-" in why
    assert "`dkms autoinstall`, or boot the other kernel." in why


def test_secure_boot_is_named(host):
    host.without_driver()
    efi = host.write("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
    efi.write_bytes(b"\6\0\0\0\0")
    assert "Secure Boot" not in host.refusal()
    efi.write_bytes(b"\6\0\0\0\1")
    why = host.refusal()
    assert "Secure Boot is on: the kernel refuses a module whose key the firmware does not" in why
    assert "mokutil --import" in why


def test_nouveau_is_named(host):
    host.without_driver()
    host.write("sys/module/nouveau/refcnt")
    assert "nouveau, holds the GPUs. Install NVIDIA's driver" in host.refusal()


def test_a_module_that_is_loaded_and_silent_is_told(host):
    host.print(SILENT, 9)
    assert f"is loaded ({DRIVER}), but does not answer. Read `dmesg" in host.refusal()


def test_a_pending_reboot_is_named_first(host):
    host.without_driver()
    assert "A reboot is pending" not in host.refusal()
    host.write("run/reboot-required")
    assert "A reboot is pending on this host: begin with that. Run `modprobe" in host.refusal()


def test_a_host_without_a_gpu_on_its_bus_is_told_so(host):
    host.without_driver()
    host.on_bus("0x030000", "0x020000", vendor="0x8086")
    why = host.refusal()
    assert "The PCI bus shows no GPU of NVIDIA. See whether this is the right host" in why
    assert "coalmine_gpus: false" in why


def test_a_driver_that_was_updated_under_a_loaded_module_is_told(host):
    host.print("Failed to initialize NVML: Driver/library version mismatch\n"
               "NVML library version: 575.57\n", 18)
    why = host.refusal()
    assert f"The driver's kernel module is {DRIVER}, and its libraries are 575.57." in why
    assert "Reboot the host." in why
    is_told(why)


@pytest.mark.parametrize(("text", "code"), [
    ("Unable to determine the device handle for GPU0000:19:00.0: GPU is lost.  Reboot the system "
     "to recover this GPU\n", 15),
    ("Unable to determine the device handle for GPU0000:19:00.0: Unknown Error\n", 15),
])
def test_a_gpu_that_fell_off_the_bus_is_told(host, text, code):
    host.print(text, code)
    why = host.refusal()
    assert "A GPU is lost: Unable to determine the device handle for GPU0000:19:00.0: " in why
    assert "and reboot the host." in why


@pytest.mark.parametrize(("vendor", "said"), [
    ("0x8086", "The PCI bus shows none either. See whether this is the right host"),
    ("0x10de", "A GPU that is there could not be started, or this driver is too old for it."),
])
def test_a_driver_that_finds_no_gpu_is_told(host, vendor, said):
    host.print("No devices were found\n", 6)
    host.on_bus("0x030200", "0x030200", vendor=vendor)
    assert f"The driver is loaded and finds no GPU. {said}" in host.refusal()


def test_a_log_without_a_gpu_is_too_few(host):
    host.print("<nvidia_smi_log><driver_version>570.172.08</driver_version></nvidia_smi_log>")
    assert "0 of 1 GPUs are there. Engines are told" in host.refusal()


@pytest.mark.parametrize("text", [
    "", "Segmentation fault", "<nvidia_smi_log><gpu></nvidia_smi_log>", "<html></html>",
    record("healthy")[:900]])
def test_what_cannot_be_read_is_told_with_how_it_begins(host, text):
    host.print(text)
    why = host.refusal()
    assert "What nvidia-smi printed cannot be read (" in why
    assert " ".join(text.split())[:40] in why
    assert "Run `nvidia-smi -q -x` by hand" in why
    is_told(why)


def test_another_end_of_nvidia_smi_is_told_with_what_it_said(host):
    host.print("Something\nnew happened", 77)
    why = host.refusal()
    assert "nvidia-smi ended with 77: Something new happened. Nothing is known of the GPUs." in why
    is_told(why)


def test_a_log_beside_a_complaint_is_read_all_the_same(host):
    host.print("WARNING: beware\n" + record("healthy")
               + "WARNING: infoROM is corrupted at gpu 0000:19:00.0\n", 14)
    (said,) = host.warnings()
    assert said.startswith("nvidia-smi ended with 14: WARNING: infoROM is corrupted at gpu "
                           "0000:19:00.0. It told of the GPUs all the same")
    assert "its infoROM is corrupted" in said


def test_an_nvidia_smi_that_hangs_is_ended_with_all_that_it_started(host):
    pid = host.root / "child"
    host.program("nvidia-smi", f"/bin/sleep 60 &\necho $! >{pid}\nwait")
    began = time.monotonic()
    why = host.refusal(timeout=1)
    assert time.monotonic() - began < 10
    assert "nvidia-smi did not answer within 1 s. The driver hangs, or a GPU has fallen" in why
    assert "gpu_host_timeout" in why
    is_told(why)
    child = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_slow_program_beside_nvidia_smi_is_left_out(host):
    host.program("systemctl", "/bin/sleep 60")
    assert host.warnings(timeout=1) == []
    assert host.check(timeout=1)["host"]["persistence_daemon"] is None


def test_nvidia_smi_may_be_named_by_its_path(host):
    (host.root / "usr/bin/nvidia-smi").rename(host.root / "my-smi")
    assert "There is no nvidia-smi" in host.refusal()
    assert host.warnings(nvidia_smi=str(host.root / "my-smi")) == []
    assert "There is no /opt/none/smi" in host.refusal(nvidia_smi="/opt/none/smi")


# ---------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(("arguments", "why"), [
    ({"timeout": 0}, "timeout: 0 is less than 1."),
    ({"gpus": 0}, "gpus: 0 is less than 1."),
    ({"free_mib_minimum": -1}, "free_mib_minimum: -1 is less than 0."),
    ({"shm_mib_minimum": -1}, "shm_mib_minimum: -1 is less than 0."),
    ({"driver_minimum": "R570"}, "driver_minimum: 'R570' is not a version, such as 570 or"),
    ({"driver_version": "latest"}, "driver_version: 'latest' is not a version of a package"),
    ({"only_driver": True}, "only_driver: give driver_package and driver_version too."),
])
def test_arguments_that_make_no_sense_are_refused(host, arguments, why):
    assert host.refusal(**arguments).startswith(why)


# ---------------------------------------------------------------------------- a driver installed


def install(host: Host, name: str = "nvidia-driver.list", seconds_after_boot: int = 60) -> None:
    """As dpkg leaves it."""
    path = host.write(f"var/lib/dpkg/info/{name}")
    os.utime(path, (1700000000 + seconds_after_boot,) * 2)


@pytest.mark.parametrize("version", ["570.172.08-1", "1:570.172.08-1~deb12u1", "570.172.08"])
def test_the_driver_that_is_pinned_is_in_use(host, version):
    install(host)
    arguments = {**PACKAGE, "driver_version": version}
    result = host.check(**arguments, only_driver=True)
    assert (result["driver_loaded"], result["reboot_needed"]) == (True, False)
    assert host.warnings(**arguments) == []


@pytest.mark.parametrize("name", ["nvidia-driver.list", "nvidia-driver:amd64.list"])
def test_a_driver_installed_since_the_boot_that_is_not_in_use_needs_a_reboot(host, name):
    host.print("Failed to initialize NVML: Driver/library version mismatch", 18)
    host.write("sys/module/nvidia/version", "565.57.01")
    install(host, name)
    result = host.check(**PACKAGE, only_driver=True)
    assert not result.get("failed")
    assert (result["driver_loaded"], result["reboot_needed"]) == (False, True)
    assert result["msg"] == (
        "nvidia-driver 570.172.08-1 was installed since the last boot, and is not in use: The "
        "driver's kernel module is 565.57.01, and its libraries are of another. The host must be "
        "rebooted.")


def test_a_driver_that_answers_over_an_older_module_needs_a_reboot(host):
    host.write("sys/module/nvidia/version", "565.57.01")
    install(host)
    result = host.check(**PACKAGE, only_driver=True)
    assert (result["driver_loaded"], result["reboot_needed"]) == (False, True)


def test_a_driver_installed_before_the_boot_that_is_not_in_use_needs_something_else(host):
    host.without_driver()
    install(host, seconds_after_boot=-60)
    result = host.check(**PACKAGE, only_driver=True)
    assert (result["driver_loaded"], result["reboot_needed"]) == (False, False)
    assert result["msg"].endswith("is not in use: nvidia-smi cannot reach the driver.")


def test_another_driver_than_the_pinned_one_is_an_error(host):
    install(host, seconds_after_boot=-60)
    why = host.refusal(driver_version="575.57.08-1")
    assert f"The driver is {DRIVER}, and 575.57.08-1 is pinned. Another driver is" in why
    is_told(why)


# ---------------------------------------------------------------------------- the role


def test_the_role_ends_the_run_for_a_machine_that_lacks_a_driver(tmp_path):
    missing = tmp_path / "nvidia-smi"
    played = play("gpu_host", tmp_path, gpu_host_nvidia_smi=str(missing))
    assert played.returncode == 2, played.stdout
    said = " ".join(played.stdout.split())
    assert f"Engines cannot run on this host. There is no {missing} on this host." in said


# ---------------------------------------------------------------------------- the role's own files


def test_each_default_of_the_role_is_in_its_arguments_and_the_same_there():
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    specs = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())
    options = specs["argument_specs"]["main"]["options"]
    assert defaults == {name: option["default"] for name, option in options.items()}
    readme = (ROLE / "README.md").read_text()
    assert [name for name in options if f"`{name}`" not in readme] == []


def test_the_modules_documentation_lists_its_arguments_and_what_it_returns(host, module):
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    calls = [node for node in ast.walk(ast.parse((ROOT / MODULE).read_text()))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "AnsibleModule"]
    argument_spec = ast.literal_eval(calls[0].keywords[0].value)
    assert {name: (option["type"], option["default"]) for name, option in documented.items()} == {
        name: (option["type"], option["default"]) for name, option in argument_spec.items()}
    returned = yaml.safe_load(module.RETURN)
    result = host.check()
    for part, sample in (("gpus", returned["gpus"]["sample"][0]),
                         ("host", returned["host"]["sample"])):
        told = result[part][0] if part == "gpus" else result[part]
        assert list(told) == list(sample)


def test_the_modules_examples_are_tasks_that_it_takes(module):
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    for task in yaml.safe_load(module.EXAMPLES):
        assert set(task["coalmine_gpu_check"]) <= set(documented)


def test_each_record_says_that_it_was_not_recorded():
    records = [*RECORDS.glob("*.xml")]
    assert len(records) == 7
    for path in records:
        assert path.read_text().splitlines()[1].endswith(
            ": made from the documented schema, not recorded. -->")
