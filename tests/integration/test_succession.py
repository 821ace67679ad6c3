"""The controller killed in every phase, and workers replaced while weights rise."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import itertools
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .client import body_of
from .conftest import Starter
from .engines import Engines
from .gateway import MASTER_KEY, Gateway, eventually
from .redis_server import RedisServer
from .worlds import Svc, world

LASTS = 16
"""Seconds that a soak, a bake and a timebox last: long enough to kill the controller in them."""
PLAN = {
    "steps": [{"weight": 50, "for": f"{LASTS}s"}, {"weight": 100, "for": "10h"}],
    "bake": f"{LASTS}s",
    "holdback": 0,
}
PAUSES = {"name": "slips", "metric": "error_rate", "max": 0.2, "min_conversations": 2,
          "action": "pause", "timebox": f"{LASTS}s"}
RISING = {
    "steps": [{"weight": weight, "for": "10h"} for weight in (10, 50, 100)],
    "bake": "10h",
    "holdback": 0,
}
PHASES = [
    Svc("soaks", rollout=PLAN), Svc("held", rollout=PLAN),
    Svc("boxed", rollout=PLAN, more={"guardrails": [PAUSES]}),
    Svc("bakes", rollout=PLAN), Svc("drains", rollout=PLAN),
]
SERVICES = [*PHASES, Svc("rising", rollout=RISING)]
FRESH = itertools.count()
LEADS = re.compile(r"(?m)^(\S+ \S+) INFO coalmine\.controller: worker (\S+) is the controller now")


def pid_of(worker: str) -> int:
    """The process of a worker, which its id names."""
    return int(worker.split("-")[-2])


@dataclass
class Gateways:
    """One gateway or several on one state, seen from outside."""

    all: list[Gateway]

    def one(self) -> Gateway:
        """One that lives."""
        alive = [g for g in self.all if g.process is not None and g.process.poll() is None]
        return alive[next(FRESH) % len(alive)]

    def service(self, name: str) -> dict[str, Any]:
        """A service, as any of them shows it."""
        answer = self.ask("GET", f"/coalmine/api/services/{name}")
        assert answer.status == 200, answer.text
        return json.loads(answer.text)

    def command(self, name: str, verb: str, **body: Any) -> dict[str, Any]:
        """Give a command that must be done, and wait until all workers apply it."""
        answer = self.ask("POST", f"/coalmine/api/services/{name}/{verb}", body)
        assert answer.status == 200, answer.text
        document = json.loads(answer.text)
        eventually(lambda: all((worker["epoch"] or 0) >= document["epoch"]
                               for worker in self.service(name)["workers"]), 15)
        return document

    def history(self, name: str) -> list[dict[str, Any]]:
        """The log of a service, oldest first."""
        answer = self.ask("GET", f"/coalmine/api/services/{name}/history")
        return sorted(json.loads(answer.text)["entries"], key=lambda entry: entry["at"])

    def controller(self) -> tuple[str, float]:
        """The worker that became the controller last, and when: the logs say it."""
        found = [(datetime.datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp(),
                  worker)
                 for gateway in self.all for at, worker in LEADS.findall(gateway.log(10**8))]
        at, worker = max(found)
        return worker, at

    def ask(self, method: str, path: str, body: Any = None, session: str = "") -> Reply:
        """One request over a connection of its own, as a worker's end closes those it has.

        One that closes it unanswered has not begun with it: asked again, as all clients do.
        """
        for _ in range(5):
            reply = self.begin(method, path, body, session).end()
            if reply.status:
                break
        return reply

    def begin(self, method: str, path: str, body: Any = None, session: str = "") -> Reply:
        """The same, with the answer yet to be read."""
        gateway = self.one()
        reply = Reply(gateway, http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60))
        headers = {"authorization": f"Bearer {MASTER_KEY}", "content-type": "application/json"}
        if session:
            headers["x-coalmine-session"] = session
        # A worker that ends closes what it has not taken yet; who reads the answer finds that out.
        with contextlib.suppress(ConnectionError):
            reply.connection.request(method, path, json.dumps(body or {}), headers)
        return reply


@dataclass
class Reply:
    """An answer that comes."""

    gateway: Gateway
    connection: http.client.HTTPConnection
    status: int = 0
    headers: Any = None
    text: str = ""
    broken: bool = False
    ended: float = 0.0

    def end(self) -> Reply:
        """Read it to its end, or until the connection breaks."""
        with contextlib.closing(self.connection):
            try:
                answer = self.connection.getresponse()
                self.status, self.headers = answer.status, answer.headers
                while piece := answer.readline():
                    self.text += piece.decode()
            except (http.client.HTTPException, ConnectionError):
                self.broken = True
        self.ended = time.time()
        return self

    def worker(self) -> int:
        """The process at the other end, by the kernel's tables; 0 until one has taken it."""
        mine = self.connection.sock.getsockname()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            columns = line.split()
            ports = [int(end.split(":")[1], 16) for end in columns[1:3]]
            if ports == [self.gateway.port, mine]:
                return next((pid for pid in self._processes() if self._holds(pid, columns[9])), 0)
        return 0

    def _processes(self) -> list[int]:
        group = self.gateway.process.pid if self.gateway.process else 0
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getpgid(int(place.name)) == group:
                    found.append(int(place.name))
        return found

    def _holds(self, pid: int, inode: str) -> bool:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                if os.readlink(handle) == f"socket:[{inode}]":
                    return True
        return False


@dataclass
class Talk:
    """A conversation, and on which release it must be."""

    gateways: Gateways = field(repr=False)
    service: str
    name: str = field(default_factory=lambda: f"talk-{next(FRESH)}")
    release: str = ""

    def turn(self) -> str | None:
        """Take a turn; return which release it is told to have left."""
        return self._read(self.gateways.ask("POST", "/v1/chat/completions", *self._says()))

    def _says(self) -> tuple[dict[str, Any], str]:
        return body_of("chat", self.service, self.name), self.name

    def _read(self, reply: Reply) -> str | None:
        assert reply.status == 200, f"{self.name}: {reply.status} {reply.broken} {reply.text}"
        release = reply.headers["x-coalmine-release"]
        assert f'"[{release}]' in reply.text, f"the header says {release}: {reply.text}"
        moved = reply.headers["x-coalmine-moved"]
        assert release == self.release or not self.release or moved, f"{self} → {release} untold"
        self.release = release
        return moved

    def stays(self) -> None:
        """Take a turn where it is."""
        before = self.release
        assert (self.turn(), self.release) == (None, before), f"{self} was on {before}"

    def stays_at(self) -> int:
        """The same; returns which worker has served it."""
        before, reply = self.release, self.gateways.begin(
            "POST", "/v1/chat/completions", *self._says())
        worker = eventually(reply.worker)
        assert (self._read(reply.end()), self.release) == (None, before), f"{self} was on {before}"
        return worker

    def moves(self, to: str) -> None:
        """Take a turn on `to`; who comes from another release is told so, once."""
        before = self.release
        assert (self.turn(), self.release) == (None if before == to else before, to), self
        self.stays()


def all_stay(*talks: list[Talk]) -> None:
    """Each takes a turn where it is."""
    for one in itertools.chain(*talks):
        one.stays()


def all_move(to: str, *talks: list[Talk]) -> None:
    """Each takes a turn on `to`, and is told once if it came from elsewhere."""
    for one in itertools.chain(*talks):
        one.moves(to)


def crowd(gateways: Gateways, service: str, count: int = 8) -> list[Talk]:
    """Conversations that begin now, until some are on each release."""
    found: list[Talk] = []
    while len(found) < count or {one.release for one in found} != {"v1", "v2"}:
        assert len(found) < 60, "at 50 % this does not happen"
        found.append(Talk(gateways, service))
        found[-1].turn()
    return found


# the controller --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four(engines: Engines, start: Starter) -> Gateways:
    """A gateway of four workers on the embedded state."""
    return Gateways(start(world("four", SERVICES, engines, workers=4)))


@pytest.fixture(scope="module")
def two(engines: Engines, start: Starter, tmp_path_factory: pytest.TempPathFactory
        ) -> Iterator[Gateways]:
    """Two gateways of one worker each, on one Redis."""
    if "redis" in os.environ.get("COALMINE_WITHOUT", "").split(","):
        pytest.skip("COALMINE_WITHOUT names redis")
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield Gateways(start(*(
        world(name, PHASES, engines, top={"state": "os.environ/COALMINE_REDIS_URL",
                                          "gateway": name}, COALMINE_REDIS_URL=server.url)
        for name in ("gw-one", "gw-two"))))
    server.kill()


@dataclass
class Stream:
    """A stream that runs, and the worker that serves it."""

    reply: Reply
    worker: int
    reader: threading.Thread


def streams(gateways: Gateways, talks: list[Talk], controller: int) -> list[Stream]:
    """Long streams in conversations with the candidate: at the controller, and two elsewhere."""
    found: list[Stream] = []
    # One in four goes to the controller: of fifty, none does in one run of a million.
    for talk in itertools.islice(itertools.cycle(talks), 50):
        reply = gateways.begin("POST", "/v1/chat/completions",
                               body_of("chat", talk.service, "long", stream=True), talk.name)
        worker = eventually(reply.worker)
        found.append(Stream(reply, worker, threading.Thread(target=reply.end)))
        found[-1].reader.start()
        there = [one.worker == controller for one in found]
        if any(there) and there.count(False) >= 2:
            return found
    raise AssertionError("the kernel gave the streams to one worker only")


def epochs_of(entries: list[dict[str, Any]]) -> list[int]:
    """The epoch that each entry led to."""
    return [entry["after"]["epoch"] for entry in entries if "epoch" in entry["after"]]


def when(entry: dict[str, Any]) -> float:
    """An entry's time."""
    return datetime.datetime.fromisoformat(entry["at"].replace("Z", "+00:00")).timestamp()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["four workers on SQLite", "two gateways on Redis"])
def test_whoever_becomes_the_controller_after_a_kill_goes_on_in_every_phase(
    request: pytest.FixtureRequest, engines: Engines, kind: str
) -> None:
    """One kill while services soak, are held, wait in a timebox, bake and drain.

    Another takes over within 2 s. Soaks, bakes and timeboxes end when they would have, a drain ends
    with its last stream, nothing is done twice, and conversations are where they ought to be.
    """
    gateways: Gateways = request.getfixturevalue("four" if "four" in kind else "two")
    old = {svc.name: [Talk(gateways, svc.name) for _ in range(2)] for svc in PHASES}
    for one in itertools.chain(*old.values()):
        one.turn()
    for svc in PHASES:
        gateways.command(svc.name, "start", release="v2")
    talks = {svc.name: old[svc.name] + crowd(gateways, svc.name) for svc in PHASES}
    gateways.command("bakes", "promote", full=True)
    gateways.command("bakes", "promote")
    with engines.faults("green", error_share=1.0):
        failing = [Talk(gateways, "boxed") for _ in range(24)]
        for one in failing:
            one.turn()
    eventually(lambda: gateways.service("boxed")["phase"] == "paused")
    held = gateways.command("held", "pause", reason="lunch")
    controller, _ = gateways.controller()
    on_v2 = [one for one in talks["drains"] if one.release == "v2"]
    with engines.faults("green", inter_token_factor=500.0):
        running = streams(gateways, on_v2, pid_of(controller))
        eventually(lambda: gateways.service("drains")["arms"]["candidate"]["in_flight"]
                   == len(running))
    gateways.command("drains", "rollback", reason="while streams run")

    before = {svc.name: gateways.service(svc.name) for svc in PHASES}
    assert {name: service["phase"] for name, service in before.items()} == {
        "soaks": "canary", "held": "paused", "boxed": "paused", "bakes": "baking",
        "drains": "rolling_back"}
    assert gateways.controller()[0] == controller
    os.kill(pid_of(controller), signal.SIGKILL)
    killed = time.time()
    successor, took = eventually(
        lambda: (found := gateways.controller())[0] != controller and found)
    assert took - killed < 2.0
    assert pid_of(successor) != pid_of(controller)

    # Meanwhile nobody notices.
    all_stay(talks["soaks"], talks["held"], talks["bakes"], talks["boxed"], failing)
    all_move("v1", talks["drains"])

    # The drain ends with the last stream of those whose worker lives.
    for stream in running:
        stream.reader.join(30)
    lost = [one for one in running if one.worker == pid_of(controller)]
    others = [one.reply for one in running if one not in lost]
    assert not [one for one in lost if "[DONE]" in one.reply.text and one.reply.ended > killed]
    assert all(reply.status == 200 and "[DONE]" in reply.text and "[v2]" in reply.text
               for reply in others)
    eventually(lambda: gateways.service("drains")["phase"] == "rolled_back", 12)
    assert when(gateways.history("drains")[-1]) > max(reply.ended for reply in others) - 0.1

    # What time ends, time ends: no sooner and no later than without the kill.
    eventually(lambda: gateways.service("soaks")["step"] == 2, LASTS + 5)
    eventually(lambda: gateways.service("bakes")["phase"] == "idle", LASTS + 5)
    eventually(lambda: gateways.service("boxed")["phase"] == "rolled_back", LASTS + 5)
    logs = {svc.name: gateways.history(svc.name) for svc in PHASES}
    actions = {name: [entry["action"] for entry in log] for name, log in logs.items()}
    assert actions == {
        "soaks": ["born", "start", "step"],
        "held": ["born", "start", "pause"],
        "boxed": ["born", "start", "pause", "rollback", "drained"],
        "bakes": ["born", "start", "promote", "promote", "promoted"],
        "drains": ["born", "start", "rollback", "drained"],
    }
    for name, log in logs.items():
        epochs = epochs_of(log[1:])
        assert epochs == list(range(epochs[0], epochs[0] + len(epochs))), name
    for name, first, last in (("soaks", 1, 2), ("boxed", 2, 3), ("bakes", 3, 4)):
        lasted = when(logs[name][last]) - when(logs[name][first])
        assert LASTS <= lasted < LASTS + 2, name

    # Held is as it was, and goes on from there.
    after = gateways.service("held")
    assert {key: after[key] for key in ("phase", "epoch", "soaked", "weight", "step")} == {
        key: held[key] for key in ("phase", "epoch", "soaked", "weight", "step")}
    assert gateways.command("held", "resume")["phase"] == "canary"
    all_stay(talks["soaks"], talks["held"], talks["drains"])
    all_move("v2", talks["bakes"])
    all_move("v1", talks["boxed"])
    assert {one.release for one in failing} == {"v1"}
    all_stay(failing)


# workers ---------------------------------------------------------------------------------------


class Crowd:
    """Users who talk all the time, each in conversations of his own, until told to stop."""

    def __init__(self, gateways: Gateways, service: str, users: int = 3) -> None:
        self._gateways, self._service = gateways, service
        self._stop = threading.Event()
        self.talks: list[Talk] = []
        self.wrong: list[str] = []
        self.turns = 0
        self._users = [threading.Thread(target=self._talk) for _ in range(users)]

    def __enter__(self) -> Crowd:
        for user in self._users:
            user.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for user in self._users:
            user.join()

    def _talk(self) -> None:
        mine: list[Talk] = []
        for n in itertools.count():
            if self._stop.wait(0.05):  # a bounded load: the workers to come need CPU
                return
            try:
                if len(mine) < 40 and n % 4 == 0:
                    mine.append(Talk(self._gateways, self._service))
                    mine[-1].turn()
                    self.talks.append(mine[-1])
                mine[n * 7 % len(mine)].stays()
                self.turns += 1
            except AssertionError as error:
                self.wrong.append(str(error))
                return

    def more(self, turns: int = 40) -> None:
        """Wait until so many more turns were taken, all of them right."""
        wanted = self.turns + turns
        eventually(lambda: self.wrong or self.turns >= wanted, 60)
        assert self.wrong == []


def workers_of(gateways: Gateways, service: str) -> set[int]:
    """Processes of the workers that live."""
    return {pid_of(worker["id"]) for worker in gateways.service(service)["workers"]}


@pytest.mark.timeout(300)
def test_conversations_stay_while_weights_rise_and_workers_are_replaced(four: Gateways) -> None:
    """Workers end one by one, as in a restart; users talk on, and nobody's conversation moves.

    Who stands in knows all conversations, and after the rollback each of them moves once.
    """
    eventually(lambda: len(workers_of(four, "rising")) == 4, 60)

    def replace(worker: int) -> int:
        """End a worker as a restart does, and wait until another stands in for it."""
        before = workers_of(four, "rising")
        os.kill(worker, signal.SIGTERM)
        now = eventually(lambda: len(now := workers_of(four, "rising")) == 4
                         and worker not in now and now, 90)
        (new,) = now - before
        return new

    with Crowd(four, "rising") as users:
        users.more()
        four.command("rising", "start", release="v2")
        users.more()
        first = replace(pid_of(four.controller()[0]))
        users.more()
        four.command("rising", "promote")
        users.more()
        second = replace(min(workers_of(four, "rising") - {first}))
        four.command("rising", "promote")
        users.more()
    assert users.wrong == []
    assert {one.release for one in users.talks} == {"v1", "v2"}
    served = {one.stays_at() for one in users.talks}
    assert {first, second} <= served
    four.command("rising", "rollback", reason="enough")
    all_move("v1", users.talks)
