"""Documentation of the action plugin of the same name."""

DOCUMENTATION = r"""
---
module: coalmine_rollout
short_description: Register a release; start, pause, resume or promote a rollout
description:
  - What is so already is left as it is, except for C(promoted), which is one step each time.
options:
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
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
extends_documentation_fragment: coalmine_gateways
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
