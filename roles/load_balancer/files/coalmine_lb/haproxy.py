"""The running haproxy, by its sockets."""

from __future__ import annotations

import contextlib
import csv
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from .files import Places, pairs, read
from .refused import Refused, Unreachable
from .standing import Gateway, Service
from .states import STOPPED, fields

GATEWAYS = "gateways"
"""The backend of the gateways."""

ENGINES = "engines."
"""Backends of engines are ``engines.SERVICE.SLOT``."""

ESCAPES = {"2B": "+", "2F": "/", "5F": "_"}
"""What a service's name may hold and a backend's may not, or stands for it."""

PATIENCE = 5.0
"""Seconds for an answer of haproxy."""


class Haproxy:
    """The running haproxy, by its admin socket, and its predecessors that still have sessions."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def ask(self, command: str) -> str:
        """Return the answer to a command.

        Raises:
            Unreachable: it does not answer.
        """
        return _ask(self._places.admin, command)

    def tell(self, command: str) -> None:
        """Give a command that answers with nothing when it is done.

        Raises:
            Refused: haproxy answers with something.
        """
        if answer := self.ask(command).strip():
            raise Refused(f"haproxy did not take `{command}`: {answer}")

    def gateways(self) -> dict[str, Gateway]:
        """Return the gateways by name, in the order of the configuration."""
        found = {}
        for line in self.states():
            server = fields(line)
            found[server["srv_name"]] = Gateway(
                server["srv_name"], f"{server['srv_addr']}:{server['srv_port']}",
                int(server["srv_admin_state"]), server["srv_op_state"] == STOPPED,
            )
        for answer in (self.ask("show stat"), *self._predecessors("show stat")):
            for row in _rows(answer):
                if row["pxname"] == GATEWAYS and row["svname"] in found:
                    found[row["svname"]].sessions += int(row["scur"] or 0)
        return found

    def states(self) -> list[str]:
        """Return the lines of the gateways' states, in the form in which haproxy reads them."""
        lines = self.ask(f"show servers state {GATEWAYS}").splitlines()
        if not lines or lines[0].strip() != "1":
            raise Refused("haproxy does not know the gateways: run the role load_balancer")
        return [line for line in lines[1:] if line.strip() and not line.startswith("#")]

    def services(self) -> dict[str, Service]:
        """Return the services by name."""
        found: dict[str, Service] = {}
        for row in _rows(self.ask("show stat")):
            name, _, slot = row["pxname"].removeprefix(ENGINES).rpartition(".")
            if not row["pxname"].startswith(ENGINES) or not name:
                continue
            service = found.setdefault(name := unescaped(name), Service(name))
            up, count = service.engines.get(slot, (0, 0))
            if row["svname"] not in ("BACKEND", "FRONTEND"):
                up, count = up + row["status"].startswith("UP"), count + 1
            service.engines[slot] = up, count
        if found:
            running = pairs(self.ask(f"show map {self._places.slots}"), skip=1)
            written = pairs(read(self._places.slots))
            for service in found.values():
                service.slot = running.get(service.name)
                service.written = written.get(service.name)
        return found

    def current(self) -> bool:
        """Return whether it runs the configuration that is written: no reload of it has failed."""
        running = re.search(r"^description: *(\S+)", self.ask("show info"), re.M)
        written = re.search(r"^ *description +(\S+)", read(self._places.configuration), re.M)
        return (running and running[1]) == (written and written[1]) and not self._failed_reloads()

    def _failed_reloads(self) -> bool:
        """Return whether the last reload failed."""
        found = re.search(r"\bmaster\b.*\[failed: *(\d+)\]", self._processes())
        return found is not None and found[1] != "0"

    def _processes(self) -> str:
        try:
            return _ask(self._places.master, "show proc")
        except Unreachable:
            return ""  # it was started without a socket of its master

    def _predecessors(self, command: str) -> Iterator[str]:
        """Yield what the processes answer that a reload has left to end their sessions."""
        for line in self._processes().partition("# old workers")[2].splitlines():
            if match := re.match(r"(\d+)\s+worker\b", line):
                # One that ends just now has no sessions any more.
                with contextlib.suppress(Unreachable):
                    yield _ask(self._places.master, f"@!{match[1]} {command}")


def _ask(path: Path, command: str) -> str:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(PATIENCE)
            line.connect(str(path))
            line.sendall(f"{command}\n".encode())
            line.shutdown(socket.SHUT_WR)  # the master's socket would wait for more
            parts = []
            while part := line.recv(65536):
                parts.append(part)
    except PermissionError as error:
        raise Unreachable(f"{path} is root's only: use sudo") from error
    except OSError as error:
        raise Unreachable(
            f"haproxy does not answer on {path} ({error.strerror or error}): look at "
            f"`systemctl status haproxy`") from error
    return b"".join(parts).decode()


def _rows(answer: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(answer.removeprefix("# ").splitlines())


def unescaped(name: str) -> str:
    """Return a service's name, of that of its backends."""
    return re.sub("_(2B|2F|5F)", lambda found: ESCAPES[found[1]], name)
