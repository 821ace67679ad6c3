"""Documentation of the action plugin of the same name."""

DOCUMENTATION = r"""
---
module: coalmine_rollout
short_description: Register a release; start, pause, resume or promote a rollout
description:
  - What is so already is left as it is, except for C(promoted), which is one step each time.
  - Runs on the controller. The key goes into a header and nowhere else.
options:
  urls:
    description: Addresses of the gateways; the first that answers is told.
    type: list
    elements: str
    required: true
  key:
    description: An operator's token or an admin's key.
    type: str
    required: true
  service:
    description: The service.
    type: str
    required: true
  state:
    description: What is to be.
    type: str
    required: true
    choices: [registered, started, paused, resumed, promoted]
  release:
    description: The release to register, or to start as candidate.
    type: str
  slot:
    description: The slot that it is registered in.
    type: str
    choices: [blue, green]
  digest:
    description: The digest of its weights' manifest, as the role C(weights) returns it.
    type: str
  full:
    description: Promote to the last step at once.
    type: bool
    default: false
  reason:
    description: Why, for the log.
    type: str
    default: ""
  ca:
    description: The CA that signed the gateways' certificates.
    type: path
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author:
  - the Coalmine project
"""

EXAMPLES = r"""
- name: Begin a rollout
  coalmine_rollout:
    urls: [http://gw1:4001, http://gw1:4002]
    key: "{{ lookup('ansible.builtin.env', 'COALMINE_KEY') }}"
    service: chat
    state: started
    release: v2
"""

RETURN = r"""
service:
  description: The service after it, as the HTTP API shows it.
  type: dict
  returned: always
"""
