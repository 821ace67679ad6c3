"""Policies as texts."""

SMALL = """\
services:
  chat:
    releases:
      v1: {slot: blue}
      v2: {slot: green}
    stable: v1
"""


def service(below: str) -> str:
    """Return a good policy with lines of a service from line 7 on."""
    return SMALL + "".join(f"    {line}\n" for line in below.splitlines())
