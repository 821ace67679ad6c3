"""Documentation of the action plugin of the same name."""

DOCUMENTATION = r"""
---
module: coalmine_rollback
short_description: Go back to stable on all gateways at once, and prove it
description:
  - Gives the rollback to every gateway in parallel, waits until every live worker says that it
    applies it, and asks for real completions through every gateway.
  - It does not fail for how the rollback ended; C(outcome) says that, so that a playbook can go on.
options:
  reason:
    description: Why, for the log.
    type: str
    default: rollback.yml
  to:
    description: The release to go to; default stable, of an idle service the previous one.
    type: str
  result:
    description: A file for the result, as JSON.
    type: path
attributes:
  check_mode:
    support: full
    description: Tells what each gateway would do.
extends_documentation_fragment: coalmine_gateways
author:
  - the Coalmine project
"""

EXAMPLES = r"""
- name: Go back
  coalmine_rollback:
    urls: [http://gw1:4001, http://gw1:4002, http://gw2:4001, http://gw2:4002]
    key: "{{ lookup('ansible.builtin.env', 'COALMINE_KEY') }}"
    service: chat
    reason: answers in French
"""

RETURN = r"""
outcome:
  description:
    - C(restored), every live worker applies it and every gateway that answers serves stable;
      C(restored-not-proved), some gateway took it and something is not as it should be;
      C(not-flipped), none took it; C(check) in check mode.
  type: str
  returned: always
msg:
  description: The same in a sentence, with all that is not as it should be.
  type: str
  returned: always
recovery:
  description:
    - C(release), C(epoch), C(seconds), C(acknowledged_milliseconds), what each of C(gateways)
      did, the C(workers) and the C(problems).
  type: dict
  returned: not in check mode
"""
