#!/usr/bin/env python3
"""Tell how haproxy stands, drain a gateway, switch the slot of the slow path; needs root.

  coalmine-lb status                      gateways, their sessions, and each service's slot
  coalmine-lb drain NAME [--wait SECONDS] no new requests for a gateway; wait for those it has
  coalmine-lb ready NAME [--wait SECONDS] it gets requests again, once its checks pass
  coalmine-lb slot SERVICE SLOT           where the slow path leads: blue or green

What is switched here lasts: over a reload, a restart, a boot and the next run of the role.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fcntl
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GATEWAYS = "gateways"
"""The backend of the gateways."""

ENGINES = "engines."
"""Backends of engines are ``engines.SERVICE.SLOT``."""

SLOTS = ("blue", "green")

SLOTS_FILE = Path("/etc/haproxy/slots.map")

DRAINED = 8
"""The flag in a server's administrative state that `set server … state drain` sets."""

MAINTENANCE = 1 | 2 | 4 | 32
"""Its flags of maintenance, whoever asked for it."""

STOPPED = "0"
RUNNING = "2"
"""Operational states of a server, by its checks."""

ESCAPES = {"2B": "+", "2F": "/", "5F": "_"}
"""What a service's name may hold and a backend's may not, or stands for it."""

PATIENCE = 5.0
"""Seconds for an answer of haproxy."""

INTERVAL = 0.25
"""Seconds between two looks at a gateway that is waited for."""

CHECKED = 10.0
"""Seconds in which the checks of a gateway that works have passed, with time to spare."""

DONE, FAILED, UNREACHABLE = 0, 1, 3
"""Exit codes; 2 is for what cannot be understood."""


class Refused(Exception):
    """What was asked for cannot be done."""

    code = FAILED


class Unreachable(Refused):
    """haproxy does not answer."""

    code = UNREACHABLE


@dataclass(frozen=True)
class Places:
    """Where things are on the host."""

    admin: Path = Path("/run/haproxy/coalmine.sock")
    master: Path = Path("/run/haproxy-master.sock")
    slots: Path = SLOTS_FILE
    drained: Path = Path("/etc/haproxy/drained.state")
    keys: Path = Path("/etc/haproxy/emergency-keys.lst")
    configuration: Path = Path("/etc/haproxy/haproxy.cfg")


@dataclass
class Gateway:
    """A gateway as haproxy sees it."""

    name: str
    address: str
    flags: int
    stopped: bool
    sessions: int = 0

    @property
    def drained(self) -> bool:
        """Whether it was told to take no new requests."""
        return bool(self.flags & DRAINED)

    @property
    def usable(self) -> bool:
        """Whether it gets new requests."""
        return self.state == "up"

    @property
    def state(self) -> str:
        """How it stands in one word."""
        if self.flags & MAINTENANCE:
            return "maintenance"
        if self.drained:
            return "drained"
        return "down" if self.stopped else "up"

    def document(self) -> dict[str, Any]:
        """Return it as `status --json` shows it."""
        return {"name": self.name, "address": self.address, "state": self.state,
                "sessions": self.sessions}


@dataclass
class Service:
    """A service on the slow path.

    Attributes:
        slot: the slot that haproxy uses, None when it knows none.
        written: the slot in the file, which it reads at its next start.
        engines: by slot, how many engines are up, and how many there are.
    """

    name: str
    slot: str | None = None
    written: str | None = None
    engines: dict[str, tuple[int, int]] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as `status --json` shows it."""
        return {"service": self.name, "slot": self.slot, "written": self.written,
                "engines": {slot: {"up": up, "all": count}
                            for slot, (up, count) in self.engines.items()}}


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
            server = _fields(line)
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
            service = found.setdefault(name := _unescaped(name), Service(name))
            up, count = service.engines.get(slot, (0, 0))
            if row["svname"] not in ("BACKEND", "FRONTEND"):
                up, count = up + row["status"].startswith("UP"), count + 1
            service.engines[slot] = up, count
        if found:
            running = _pairs(self.ask(f"show map {self._places.slots}"), skip=1)
            written = _pairs(_read(self._places.slots))
            for service in found.values():
                service.slot = running.get(service.name)
                service.written = written.get(service.name)
        return found

    def current(self) -> bool:
        """Return whether it runs the configuration that is written: no reload of it has failed."""
        running = re.search(r"^description: *(\S+)", self.ask("show info"), re.M)
        written = re.search(r"^ *description +(\S+)", _read(self._places.configuration), re.M)
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


STATE_FIELDS = ("be_id", "be_name", "srv_id", "srv_name", "srv_addr", "srv_op_state",
                "srv_admin_state", "srv_uweight", "srv_iweight", "srv_time_since_last_change",
                "srv_check_status", "srv_check_result", "srv_check_health", "srv_check_state",
                "srv_agent_state", "bk_f_forced_id", "srv_f_forced_id", "srv_fqdn", "srv_port")
"""The first columns of a server's state, version 1 (haproxy's management guide, 9.3)."""


def _fields(line: str) -> dict[str, str]:
    return dict(zip(STATE_FIELDS, line.split(), strict=False))


def _rows(answer: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(answer.removeprefix("# ").splitlines())


def _unescaped(name: str) -> str:
    return re.sub("_(2B|2F|5F)", lambda found: ESCAPES[found[1]], name)


def _pairs(text: str, skip: int = 0) -> dict[str, str]:
    """Return a map's keys and values; `skip` columns stand before them."""
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return {row[skip]: row[skip + 1] for row in rows if len(row) == skip + 2}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Replace a file at once, so that a reader sees the old or the new one, whole."""
    handle, made = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, 0o644)
            os.fsync(handle)
        os.replace(made, path)
    except OSError:
        os.unlink(made)
        raise


@contextlib.contextmanager
def alone(places: Places) -> Iterator[None]:
    """Keep other calls of this program from changing things meanwhile."""
    folder = os.open(places.slots.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


# ------------------------------------------------------------------------------- commands


def status(haproxy: Haproxy, places: Places) -> dict[str, Any]:
    """Return how things stand."""
    gateways = haproxy.gateways().values()
    keys = [line for line in _read(places.keys).split() if re.fullmatch("[0-9a-f]{64}", line)]
    usable = sum(gateway.usable for gateway in gateways)
    return {
        "current": haproxy.current(),
        "path": "gateways" if usable else "slow" if keys else "none",
        "usable": usable,
        "gateways": [gateway.document() for gateway in gateways],
        "services": [service.document() for service in haproxy.services().values()],
        "emergency_keys": len(keys),
    }


def drain(haproxy: Haproxy, places: Places, name: str, wait: float) -> dict[str, Any]:
    """Give a gateway no new requests, and wait until it has none.

    Raises:
        Refused: there is no such gateway, or it still has requests when `wait` seconds are over.
    """
    changed = _turn(haproxy, places, name, "drain", lambda gateway: gateway.drained)
    began = time.monotonic()
    while True:
        gateways = haproxy.gateways()
        gateway = _known(gateways, name)
        waited = time.monotonic() - began
        if not gateway.sessions or waited >= wait:
            break
        time.sleep(min(INTERVAL, wait - waited))
    if wait and gateway.sessions:
        raise Refused(f"{name} still has {_many(gateway.sessions, 'session')} after {wait:g} s; "
                      f"it stays drained")
    return _turned(gateways, name, changed, waited)


def ready(haproxy: Haproxy, places: Places, name: str, wait: float) -> dict[str, Any]:
    """Give a gateway requests again, and wait until it gets some.

    Raises:
        Refused: there is no such gateway, or its checks fail when `wait` seconds are over.
    """
    changed = _turn(haproxy, places, name, "ready",
                    lambda gateway: gateway.state in ("up", "down"))
    began = time.monotonic()
    while True:
        gateways = haproxy.gateways()
        gateway = _known(gateways, name)
        waited = time.monotonic() - began
        if gateway.usable or waited >= wait:
            break
        time.sleep(min(INTERVAL, wait - waited))
    if wait and not gateway.usable:
        raise Refused(f"{name} is not drained any more, but its checks still fail after {wait:g} s")
    return _turned(gateways, name, changed, waited)


def _turned(gateways: dict[str, Gateway], name: str, changed: bool, waited: float
            ) -> dict[str, Any]:
    gateway = gateways[name]
    return {"gateway": name, "state": gateway.state, "changed": changed,
            "sessions": gateway.sessions, "waited": round(waited, 1),
            "usable": sum(other.usable for other in gateways.values())}


def slot(haproxy: Haproxy, places: Places, name: str, to: str) -> dict[str, Any]:
    """Lead the slow path of a service to the engines of a slot, now and after a restart.

    Raises:
        Refused: there is no such service, or no engine in that slot.
    """
    with alone(places):
        services = haproxy.services()
        if name not in services:
            raise Refused(f"haproxy knows no service {name}: {_one_of(services)}")
        service = services[name]
        up, count = service.engines.get(to, (0, 0))
        if not count:
            raise Refused(f"{name} has no engine in slot {to}")
        before = _read(places.slots)
        if service.written != to:
            _write(places.slots, _with_slot(before, name, to))
        if service.slot != to:
            verb = "add" if service.slot is None else "set"
            try:
                haproxy.tell(f"{verb} map {places.slots} {name} {to}")
            except Refused:
                _write(places.slots, before)
                raise
    return {"service": name, "slot": to, "before": service.slot,
            "changed": (service.slot, service.written) != (to, to), "up": up, "all": count}


def _turn(haproxy: Haproxy, places: Places, name: str, state: str,
          there: Callable[[Gateway], bool]) -> bool:
    """Set a gateway's state and write down which are drained; return whether it was another."""
    with alone(places):
        changed = not there(_known(haproxy.gateways(), name))
        if changed:
            haproxy.tell(f"set server {GATEWAYS}/{name} state {state}")
        text = _drained(haproxy.states(), _read(places.drained))
        if text != _read(places.drained):
            _write(places.drained, text)
    return changed


def _known(gateways: dict[str, Gateway], name: str) -> Gateway:
    if name not in gateways:
        raise Refused(f"haproxy knows no gateway {name}: {_one_of(gateways)}")
    return gateways[name]


def _one_of(names: dict[str, Any]) -> str:
    return f"it is one of {', '.join(names)}" if names else "it knows none"


def _drained(states: list[str], before: str) -> str:
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


def _with_slot(text: str, name: str, to: str) -> str:
    lines = [f"{name} {to}" if line.split()[:1] == [name] else line for line in text.splitlines()]
    if f"{name} {to}" not in lines:
        lines.append(f"{name} {to}")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------- words


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" + "s" * (count != 1)


def status_words(found: dict[str, Any]) -> list[str]:
    """Return the lines of `status`."""
    gateways, services = found["gateways"], found["services"]
    lines = [f"{found['usable']} of {_many(len(gateways), 'gateway')} usable"]
    if not found["current"]:
        lines.insert(0, "the configuration in force is not the one written: reload haproxy, and "
                        "look at `journalctl -u haproxy`")
    width = max((len(gateway["name"]) for gateway in gateways), default=0)
    lines += [f"  {gateway['name']:{width}}  {gateway['state']:11}  {gateway['address']}  "
              f"{_many(gateway['sessions'], 'session')}" for gateway in gateways]
    lines.append({
        "gateways": f"slow path: not in use, {_many(found['emergency_keys'], 'key')} may use it",
        "slow": f"slow path: IN USE, {_many(found['emergency_keys'], 'key')} may use it",
        "none": "slow path: closed, and NO GATEWAY is left: nobody is answered",
    }[found["path"]])
    for service in services:
        engines = ", ".join(f"{name} {held['up']} of {held['all']} up"
                            for name, held in service["engines"].items())
        lines.append(f"  {service['service']}  {service['slot']}  ({engines})")
        if service["slot"] != service["written"]:
            lines.append(f"    after a restart {service['written']}, says {SLOTS_FILE}: "
                         f"`coalmine-lb slot {service['service']} SLOT` sets both")
    return lines


def turned_words(found: dict[str, Any]) -> list[str]:
    """Return the lines of `drain` and `ready`."""
    was = "" if found["changed"] else ", unchanged"
    sessions = _many(found["sessions"], "session")
    lines = [f"{found['gateway']} is {found['state']}{was}, {sessions}"]
    if not found["usable"]:
        lines.append("no gateway is left: requests take the slow path")
    return lines


def slot_words(found: dict[str, Any]) -> list[str]:
    """Return the lines of `slot`."""
    was = f", before {found['before']}" if found["changed"] else ", unchanged"
    lines = [f"the slow path of {found['service']} leads to {found['slot']}{was}"]
    if not found["up"]:
        lines.append(f"none of {_many(found['all'], 'engine')} there answers")
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="coalmine-lb", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                        help="answer as JSON")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", parents=[common], help="how things stand")
    draining = commands.add_parser("drain", parents=[common], help="no new requests for a gateway")
    draining.add_argument("name", metavar="NAME")
    draining.add_argument("--wait", type=_seconds, default=0.0, metavar="SECONDS",
                          help="until it has none; fails when it then still has some")
    readying = commands.add_parser("ready", parents=[common], help="a gateway gets requests again")
    readying.add_argument("name", metavar="NAME")
    readying.add_argument("--wait", type=_seconds, default=CHECKED, metavar="SECONDS",
                          help="until its checks pass; fails when they then still do not "
                               "(default %(default)g)")
    switching = commands.add_parser("slot", parents=[common], help="where the slow path leads")
    switching.add_argument("service", metavar="SERVICE")
    switching.add_argument("slot", metavar="SLOT", choices=SLOTS)
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text} seconds cannot be waited for")
    return seconds


def main(argv: list[str] | None = None, places: Places | None = None) -> int:
    """Do what the command line says, and return the exit code."""
    options = _parser().parse_args(argv)
    places = places or Places()
    haproxy = Haproxy(places)
    try:
        if options.command == "status":
            found, words = status(haproxy, places), status_words
        elif options.command == "drain":
            found, words = drain(haproxy, places, options.name, options.wait), turned_words
        elif options.command == "ready":
            found, words = ready(haproxy, places, options.name, options.wait), turned_words
        else:
            found, words = slot(haproxy, places, options.service, options.slot), slot_words
    except Refused as error:
        sys.stderr.write(f"coalmine-lb: {error}\n")
        return error.code
    except OSError as error:
        sys.stderr.write(f"coalmine-lb: {error.filename}: {error.strerror}\n")
        return FAILED
    try:
        sys.stdout.write(json.dumps(found) if options.json else "\n".join(words(found)))
        sys.stdout.write("\n")
        sys.stdout.flush()
    except BrokenPipeError:  # `coalmine-lb status | head -n 1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


if __name__ == "__main__":
    sys.exit(main())
