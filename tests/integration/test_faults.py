"""What users see while something is killed, hung or restored: stable, never an error of ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from coalmine.gateway.outbox import outbox_folder
from coalmine.state import redis_keys

from .client import Client, body_of
from .engines import Engines
from .gateway import MASTER_KEY, Gateway, eventually
from .redis_server import RedisServer
from .worlds import Svc, world

HALF = {"steps": [{"weight": 50, "for": "10h"}, {"weight": 100, "for": "10h"}], "bake": "10h"}
SERVICES = [
    Svc("stick", rollout=HALF), Svc("lead", rollout=HALF, more={"guardrails": [
        {"name": "hard", "metric": "error_rate", "max": 0.5, "min_conversations": 3}]}),
    Svc("phase", rollout=HALF), Svc("drain", rollout=HALF), Svc("race", rollout=HALF),
    Svc("hung", rollout=HALF), Svc("gone", rollout=HALF), Svc("old", rollout=HALF),
    Svc("began", rollout=HALF),
]


@pytest.fixture(scope="module")
def sqlite(engines: Engines, start: Callable[..., list[Gateway]]) -> Gateway:
    """A gateway of two workers on the embedded state."""
    return start(world("sqlite", SERVICES[2:5], engines, workers=2))[0]


@pytest.fixture(scope="module")
def three(engines: Engines, start: Callable[..., list[Gateway]]) -> Gateway:
    """A gateway of three workers, of which tests kill two; uvicorn brings them back when it may."""
    return start(world("three", SERVICES[:2], engines, workers=3))[0]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of our own."""
    if "redis" in os.environ.get("COALMINE_WITHOUT", "").split(","):
        pytest.skip("COALMINE_WITHOUT names redis")
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def shared(
    engines: Engines, start: Callable[..., list[Gateway]], redis_server: RedisServer
) -> list[Gateway]:
    """Two gateways of one worker each, on one Redis."""
    top = {"state": "os.environ/COALMINE_REDIS_URL"}
    return start(*(
        world(name, SERVICES[5:], engines, top={**top, "gateway": name},
              COALMINE_REDIS_URL=redis_server.url)
        for name in ("gw-a", "gw-b")
    ))


def turn(client: Client, service: str, conversation: str) -> str:
    """One turn of a conversation; returns the release that answered, as text and header say."""
    answer = client.post("/v1/chat/completions", body_of("chat", service, f"hi {conversation}"),
                         headers={"x-coalmine-session": conversation})
    assert answer.status == 200, answer.text
    assert answer.said.startswith(f"[{answer.release}]"), (answer.said, answer.release)
    return str(answer.release)


def fresh(gateway: Gateway) -> Client:
    """A client with a connection of its own."""
    return Client(gateway.url, MASTER_KEY)


def pid_of(worker: str) -> int:
    """The process of a worker, which its id names."""
    return int(worker.split("-")[-2])


def test_streams_that_run_during_a_rollback_end_where_they_began(
    sqlite: Gateway, engines: Engines
) -> None:
    """Ten long streams on v2 complete on v2; rolled_back comes only after the last one."""
    sqlite.command("drain", "start", release="v2")
    client = sqlite.client()
    names = (f"s{i}" for i in range(200))  # of thirty, fewer than ten are on v2 in 2 % of runs
    on_v2 = list(islice((n for n in names if turn(client, "drain", n) == "v2"), 10))
    said: dict[str, str] = {}

    def read(name: str) -> None:
        with closing(fresh(sqlite)) as one:
            answer = one.ask("chat", "drain", f"long {name}", stream=True, session=name)
        whole = answer.status == 200 and not answer.broken
        said[name] = answer.said if whole else f"{answer.status} {answer.broken} {answer.text}"

    with engines.faults("green", inter_token_factor=400.0):
        readers = [threading.Thread(target=read, args=(name,)) for name in on_v2]
        for reader in readers:
            reader.start()
        eventually(lambda: sqlite.service("drain")["arms"]["candidate"]["in_flight"] == 10)
        document = sqlite.command("drain", "rollback", reason="while streams run")
        assert document["phase"] == "rolling_back"
        assert turn(client, "drain", "fresh") == "v1"
        assert sqlite.service("drain")["phase"] == "rolling_back"
        for reader in readers:
            reader.join(30)
    assert len(said) == 10
    assert all(text.startswith("[v2]") and len(text.split()) >= 6 for text in said.values()), said
    service = sqlite.until("drain", "rolled_back")
    assert service["arms"]["candidate"]["in_flight"] == 0


def test_two_admins_at_once_cannot_both_be_right(sqlite: Gateway) -> None:
    """Eight starts at once: one 200, seven 409, one entry in the log."""
    answers: list[int] = []

    def start() -> None:
        with closing(fresh(sqlite)) as one:
            answer = one.post("/coalmine/api/services/race/start", {"release": "v2"})
        answers.append(answer.status)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [200] + [409] * 7
    entries = sqlite.client().get("/coalmine/api/services/race/history").json()["entries"]
    assert [e["action"] for e in entries].count("start") == 1


@pytest.mark.timeout(300)
def test_a_restart_of_everything_resumes_the_same_phase(
    engines: Engines, sqlite: Gateway
) -> None:
    """Canary, paused, baking and rolled_back all survive kill -9 of every process."""
    def restart() -> None:
        sqlite.signal(signal.SIGKILL)
        assert sqlite.process is not None
        sqlite.process.wait(10)
        sqlite.start().ready()

    client = sqlite.client()
    sqlite.command("phase", "start", release="v2")
    began = {f"p{n}": turn(client, "phase", f"p{n}") for n in range(24)}
    sqlite.command("phase", "pause", reason="lunch")
    restart()
    service = sqlite.service("phase")
    assert (service["phase"], service["weight"], service["step"]) == ("paused", 50, 1)
    assert {name: turn(client, "phase", name) for name in began} == began
    sqlite.command("phase", "resume")
    sqlite.command("phase", "rollback", reason="enough")
    sqlite.until("phase", "rolled_back")
    restart()
    assert sqlite.service("phase")["phase"] == "rolled_back"
    assert {turn(client, "phase", name) for name in began} == {"v1"}


def test_a_killed_worker_takes_no_conversation_and_no_count_with_it(
    three: Gateway, engines: Engines
) -> None:
    """After kill -9 of one of two workers every conversation stays and all attempts are counted."""
    client = three.client()
    three.command("stick", "start", release="v2")
    probes = sum(engines.asked("stick").values())
    began = {f"c{n}": turn(client, "stick", f"c{n}") for n in range(40)}
    assert set(began.values()) == {"v1", "v2"}
    victim = three.service("stick")["workers"][0]["id"]
    os.kill(pid_of(victim), signal.SIGKILL)

    def again(name: str) -> str | None:
        with contextlib.suppress(httpx.TransportError), closing(fresh(three)) as one:
            return turn(one, "stick", name)
        return None

    now = {name: eventually(lambda name=name: again(name)) for name in began}
    assert now == began
    eventually(lambda: sum(three.attempts("stick").values())
               == sum(engines.asked("stick").values()) - probes, 15)


def test_after_the_controller_is_killed_another_rolls_back(
    three: Gateway, engines: Engines
) -> None:
    """The lease is taken over, and a candidate that fails is rolled back by the new controller."""
    client = three.client()
    answer = client.post("/coalmine/api/services/lead/start", {"release": "v2"})
    assert answer.status == 200, answer.text
    leader = next(line.split("worker ")[1].split(" ")[0]
                  for line in reversed(three.log(10**7).splitlines())
                  if "is the controller now" in line)
    os.kill(pid_of(leader), signal.SIGKILL)
    with engines.faults("green", error_share=1.0):
        names = iter(range(10_000))

        def rolled() -> bool:
            with contextlib.suppress(httpx.TransportError), closing(fresh(three)) as one:
                turn(one, "lead", f"x{next(names)}")
                seen = one.get("/coalmine/api/services/lead").json()
                return seen["phase"] in ("rolling_back", "rolled_back")
            return False

        eventually(rolled, 20)
    with closing(fresh(three)) as one:
        entry = one.get("/coalmine/api/services/lead/history").json()["entries"]
    assert [e["action"] for e in entry if e["action"] == "rollback"] == ["rollback"]


# Redis ------------------------------------------------------------------------------------------


def held(gateway: Gateway, service: str, count: int) -> dict[str, str]:
    """Begin conversations and return the release of each."""
    return {f"{service}{n}": turn(gateway.client(), service, f"{service}{n}")
            for n in range(count)}


def in_canary(shared: list[Gateway], service: str) -> list[Gateway]:
    """Begin a rollout at the first gateway, and return them once the second knows of it."""
    one, two = shared
    one.command(service, "start", release="v2")
    eventually(lambda: two.service(service)["phase"] == "canary")
    return shared


def test_two_gateways_on_one_redis_agree_on_every_conversation(shared: list[Gateway]) -> None:
    """What one gateway began the other goes on with, and a flip reaches both."""
    one, two = in_canary(shared, "gone")
    began = held(one, "gone", 20)
    assert set(began.values()) == {"v1", "v2"}
    assert {name: turn(two.client(), "gone", name) for name in began} == began
    document = two.command("gone", "rollback", reason="test")
    eventually(lambda: one.service("gone")["epoch"] >= document["epoch"])
    assert {turn(one.client(), "gone", name) for name in began} == {"v1"}


def test_a_hung_redis_costs_nobody_an_answer(
    shared: list[Gateway], redis_server: RedisServer
) -> None:
    """New conversations get stable at once, known ones stay, a rollback is applied and kept."""
    one, two = in_canary(shared, "hung")
    began = held(one, "hung", 24)
    redis_server.hang()
    try:
        def fresh_gets_stable() -> bool:
            return turn(one.client(), "hung", f"new-{time.monotonic_ns()}") == "v1"

        slow: list[float] = []
        for _ in range(10):
            at = time.monotonic()
            fresh_gets_stable()
            slow.append(time.monotonic() - at)
        eventually(lambda: all(fresh_gets_stable() for _ in range(6)), 10)
        assert sorted(slow)[len(slow) // 2] < 0.6, slow
        assert {name: turn(one.client(), "hung", name) for name in began} == began
        answer = one.client().post("/coalmine/api/services/hung/rollback", {"reason": "no redis"})
        assert answer.status == 200, answer.text
        assert answer.json()["changed"] is True
        assert {turn(one.client(), "hung", name) for name in began} == {"v1"}
    finally:
        redis_server.go_on()
    eventually(lambda: two.service("hung")["phase"] in ("rolling_back", "rolled_back"), 15)
    assert {turn(two.client(), "hung", name) for name in began} == {"v1"}


def test_who_began_during_an_outage_stays_on_stable(
    shared: list[Gateway], redis_server: RedisServer
) -> None:
    """On the other gateway too, which never saw the conversation's beginning."""
    one, two = in_canary(shared, "began")
    names = [f"during-{n}" for n in range(20)]

    def pins() -> int:
        return sum(1 for _ in redis_server.client().scan_iter(redis_keys.PIN_PREFIX + b"*"))

    before = pins()
    redis_server.hang()
    try:
        assert {turn(one.client(), "began", name) for name in names} == {"v1"}
    finally:
        redis_server.go_on()
    eventually(lambda: pins() == before + len(names))
    for gateway in (two, one):
        assert {turn(gateway.client(), "began", name) for name in names} == {"v1"}
    assert set(held(two, "began", 20).values()) == {"v1", "v2"}


def test_a_redis_restored_from_an_old_snapshot_is_told_what_it_lost(
    shared: list[Gateway], redis_server: RedisServer
) -> None:
    """A rollback that the snapshot does not hold is put back by the workers."""
    one, two = in_canary(shared, "old")
    snapshot = redis_server.save()
    one.command("old", "rollback", reason="after the snapshot")
    rolled = one.until("old", "rolled_back")
    eventually(lambda: two.service("old")["epoch"] >= rolled["epoch"])
    redis_server.kill()
    (redis_server.folder / "dump.rdb").write_bytes(snapshot.read_bytes())
    redis_server.start()

    def put_back() -> Any:
        history = two.client().get("/coalmine/api/services/old/history")
        entries = history.json().get("entries", []) if history.status == 200 else []
        return any(e["action"] == "reseed" for e in entries)

    eventually(put_back, 15)
    for gateway in shared:
        assert gateway.service("old")["phase"] == "rolled_back"
        assert turn(gateway.client(), "old", "anyone") == "v1"


def test_a_gateway_that_starts_without_its_redis_serves_the_snapshots_stable(
    engines: Engines, start: Callable[..., list[Gateway]], tmp_path: Path
) -> None:
    """Nothing listens at the state's address: stable answers, and healthz says so."""
    gateway = Gateway(
        world("alone", SERVICES[5:], engines, top={"state": "os.environ/COALMINE_REDIS_URL"},
              COALMINE_REDIS_URL="redis://127.0.0.1:1/0"),
        tmp_path / "alone", Path(__file__).parents[2] / "plugin")
    gateway.start()
    try:
        eventually(lambda: gateway.client().get("/health/liveliness").status == 200, 110, 0.2)
        answer = gateway.client().post("/v1/chat/completions", body_of("chat", "gone", "hi"))
        assert answer.status == 200, answer.text
        assert answer.said.startswith("[v1]")
        health = gateway.client().get("/coalmine/healthz")
        assert (health.status, health.json()["state"]) == (503, "out_of_reach")
    finally:
        gateway.stop()
    # What it counted waits for the next start.
    outbox = outbox_folder(socket.gethostname(), tmp_path / "alone")
    assert [path.suffix for path in outbox.iterdir()] == [".outbox"]
    shutil.rmtree(outbox)
