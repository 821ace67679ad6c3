#!/usr/bin/python
"""Bring the weights of one release to a host: made aside, verified, then renamed into place."""

# ruff: noqa: E402 - Ansible's modules say first what they are

from __future__ import annotations

DOCUMENTATION = r"""
---
module: coalmine_weights
short_description: Bring the weights of a release to a host, verified
description:
  - Fetches the files that a manifest lists into a folder aside on the same file system, verifies
    the size and the SHA-256 of each, and only then renames the folder into place, read-only.
  - A tree in place is compared with the manifest. A stamp spares reading all of it again while no
    file's inode, time of change or size differs from when it was last read.
  - Weights in place are never replaced unasked, as an engine may have them mapped.
options:
  folder:
    description: The folder that holds all releases.
    type: path
    default: /var/lib/coalmine/models
  name:
    description: The release, a plain name. Its files lie in the folder of this name.
    type: str
    required: true
  manifest:
    description:
      - >-
        The manifest itself, as JSON: C({"files": {"config.json": {"sha256": "…", "bytes": 123}}}).
        The files it lists are fetched, and no others.
    type: json
    required: true
  source:
    description:
      - A folder on the host (C(/srv/models/x)), an rsync source (C(rsync://host/module/x) or
        C(user@host:/path)), or the URL of a folder (C(https://host/x), to which the files' paths
        are appended).
    type: str
    required: true
  http_headers:
    description:
      - Headers for a source that is a URL, such as C(Authorization). They do not follow a redirect
        to another server.
    type: dict
    default: {}
  verify:
    description: Read all bytes again although the stamp fits.
    type: bool
    default: false
  replace:
    description:
      - Where the tree in place is not what the manifest says, fetch it anew and exchange it. An
        engine keeps what it has mapped; one that still loads may see both.
    type: bool
    default: false
  owner:
    description: User that owns the files, by name or number.
    type: str
    default: root
  group:
    description: Group of the files, by name or number.
    type: str
    default: root
  only_arguments:
    description: Look only whether the arguments are well-formed; nothing of the host is read.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description:
      - Reads what is in place. Asks no server; warns of a source, user or group not there yet.
  diff_mode:
    support: full
    description: Lists the files added, and those they replace.
requirements:
  - rsync on the host, for an rsync source
author:
  - the Coalmine project
"""

EXAMPLES = r"""
- name: Bring a release from a mirror
  coalmine_weights:
    name: chat-v2
    manifest: "{{ lookup('ansible.builtin.file', 'manifests/chat-v2.json') | string }}"
    source: https://models.example.net/chat-v2
    http_headers:
      Authorization: Bearer {{ vault_models_token }}

- name: Read all bytes of a release again
  coalmine_weights:
    name: chat-v2
    manifest: "{{ lookup('ansible.builtin.file', 'manifests/chat-v2.json') | string }}"
    source: /srv/models/chat-v2
    verify: true
"""

RETURN = r"""
path:
  description: The folder with the release's files.
  type: str
  returned: success
  sample: /var/lib/coalmine/models/chat-v2
digest:
  description: Digest of the canonical manifest, as Coalmine writes digests.
  type: str
  returned: success
  sample: sha256:0f343b0931126a20f133d67c2b018a3b0f343b0931126a20f133d67c2b018a3b
bytes:
  description: Size of all files together.
  type: int
  returned: success
  sample: 16070012345
verified:
  description:
    - How the files are known to be right. C(stamp), none was touched since they were last read;
      C(read), all bytes were read in this run; null where nothing is verified yet (check mode).
  type: str
  returned: success
  sample: stamp
msg:
  description: What was found or done, for people.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.coalmine_weights.errand import Errand
from ansible.module_utils.coalmine_weights.problems import Unfit, told
from ansible.module_utils.coalmine_weights.room import free_bytes


def main() -> None:
    """Be an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": "/var/lib/coalmine/models"},
            "name": {"type": "str", "required": True},
            "manifest": {"type": "json", "required": True},
            "source": {"type": "str", "required": True},
            "http_headers": {"type": "dict", "default": {}, "no_log": True},
            "verify": {"type": "bool", "default": False},
            "replace": {"type": "bool", "default": False},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "root"},
            "only_arguments": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        errand = Errand(module.params, check=module.check_mode, free=free_bytes)
        if module.params["only_arguments"]:
            result = errand.result("well-formed", changed=False, verified=None)
        else:
            result = errand.run()
    except (Unfit, OSError) as problem:
        module.fail_json(msg=told(problem))
    for warning in errand.warnings:
        module.warn(warning)
    if errand.diff:
        result["diff"] = errand.diff
    module.exit_json(**result)


if __name__ == "__main__":
    main()
