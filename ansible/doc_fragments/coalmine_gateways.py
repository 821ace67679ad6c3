"""What the action plugins that speak to gateways have in common."""


class ModuleDocFragment:
    """Their common options; ../plugin_utils/coalmine_action.py reads them."""

    DOCUMENTATION = r"""
notes:
  - It runs on the controller. The key goes into a header and nowhere else.
options:
  urls:
    description: Addresses of the gateways, each by itself and not the load balancer's.
    type: list
    elements: str
    required: true
  key:
    description: An operator's token or an admin's key; a rollback also calls the service by it.
    type: str
    required: true
  service:
    description: The service.
    type: str
    required: true
  ca:
    description: The CA that signed the gateways' certificates.
    type: path
"""
