"""Documentation of the action plugin of the same name."""

DOCUMENTATION = r"""
---
module: coalmine_status
short_description: How a service stands
description:
  - Asks all gateways at once, and takes the newest answer. It does not fail when none answers.
attributes:
  check_mode:
    support: full
extends_documentation_fragment: coalmine_gateways
author:
  - the Coalmine project
"""

EXAMPLES = r"""
- name: Ask how the service stands
  coalmine_status:
    urls: [http://gw1:4001, http://gw1:4002]
    key: "{{ lookup('ansible.builtin.env', 'COALMINE_KEY') }}"
    service: chat
  register: status
"""

RETURN = r"""
service:
  description: The service, as the HTTP API shows it; null when no gateway says.
  type: dict
  returned: always
reached:
  description: How many gateways answered.
  type: int
  returned: always
silent:
  description: Why the others did not, by address.
  type: dict
  returned: always
"""
