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

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.coalmine_gpu.findings import Wrong
from ansible.module_utils.coalmine_gpu.host import Host
from ansible.module_utils.coalmine_gpu.looking import look, look_at_driver
from ansible.module_utils.coalmine_gpu.wanted import check


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
