"""Servers' states, in the form in which haproxy writes and reads them."""

from __future__ import annotations

from .standing import DRAINED

STATE_FIELDS = ("be_id", "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state",
                "srv_admin_state", "srv_uweight", "srv_iweight", "srv_time_since_last_change",
                "srv_check_status", "srv_check_result", "srv_check_health", "srv_check_state",
                "srv_agent_state", "bk_f_forced_id", "srv_f_forced_id", "srv_fqdn", "srv_port")
"""The first columns of a server's state, version 1 (haproxy's management guide, 9.3)."""

STOPPED = "0"
RUNNING = "2"
"""Operational states of a server, by its checks."""


def fields(line: str) -> dict[str, str]:
    """Return the columns of a state by their names."""
    return dict(zip(STATE_FIELDS, line.split(), strict=False))


def drained(states: list[str], before: str) -> str:
    """Return the file of drained gateways: their states and no others', with its old comments.

    haproxy starts them with their checks passed and at the address of its configuration.
    """
    comments = [line for line in before.splitlines() if line.startswith("#")]
    lines = []
    for line in states:
        columns = line.split()
        if int(columns[STATE_FIELDS.index("srv_admin_state")]) & DRAINED:
            columns[STATE_FIELDS.index("srv_addr")] = "-"
            columns[STATE_FIELDS.index("srv_op_state")] = RUNNING
            columns[STATE_FIELDS.index("srv_time_since_last_change")] = "0"
            lines.append(" ".join(columns))
    return "\n".join(["1", *comments, *lines]) + "\n"
