"""Floods and oversized requests at the real proxy: bounded memory, and no error of ours."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from .client import body_of
from .conftest import Starter
from .engines import Engines
from .gateway import Gateway, Setup, eventually, tally
from .worlds import ALL_NEW, Svc, world

SERVICES = [Svc("flood", rollout=ALL_NEW)]
KEYS = {f"sk-{name}": name for name in ("alice", "bob", "carol")}
SHARE = 300
"""New conversations of one key in a minute. The product's own limit is ten times that, which this
machine's proxy could only just reach; `tests/gateway/test_bounds.py` floods the hooks with it."""
LOWER = f"""
from coalmine.gateway import newcomers

assert newcomers.NEW_A_MINUTE > {SHARE}
newcomers.NEW_A_MINUTE = {SHARE}
"""
WARM, IDS, CLIENTS = 300, 2000, 8
MIB = 1 << 20


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Starter) -> Gateway:
    """One worker, whose limit LiteLLM lowers when it loads our keys."""
    made = world("floods", SERVICES, engines, keys=KEYS)
    files = tuple((name, text + LOWER if name == "keys.py" else text) for name, text in made.files)
    found = start(Setup(made.name, made.litellm, made.policy, made.workers, made.env, files))[0]
    found.command("flood", "start", release="v2")
    return found


def resident(gateway: Gateway) -> int:
    """Bytes of memory of the only worker."""
    (worker,) = gateway.service("flood")["workers"]
    pid = worker["id"].split("-")[-2]
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def disk(gateway: Gateway) -> int:
    """Bytes of the state's files."""
    return sum(path.stat().st_size for path in gateway.directory.glob("coalmine.db*"))


def pins(gateway: Gateway) -> int:
    """How many conversations the state holds, by its file."""
    file = sqlite3.connect(f"file:{gateway.directory}/coalmine.db.pins?mode=ro", uri=True)
    (count,) = file.execute("SELECT count(*) FROM pins").fetchone()
    file.close()
    return int(count)


def ask_all(gateway: Gateway, names: list[str], key: str = "sk-alice") -> list[tuple[int, str]]:
    """One turn of each conversation, several at once; status and arm of each answer.

    Of the standard library's client, as httpx would take the CPU that the proxy needs.
    """
    answers: dict[str, tuple[int, str]] = {}
    left, lock = iter(names), threading.Lock()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = json.dumps(body_of("chat", "flood", "Hi"))

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        while True:
            with lock:
                name = next(left, None)
            if name is None:
                connection.close()
                return
            connection.request("POST", "/v1/chat/completions", body,
                               {**headers, "x-coalmine-session": name})
            answer = connection.getresponse()
            answer.read()
            answers[name] = answer.status, answer.headers["x-coalmine-arm"]

    workers = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    return [answers.get(name, (0, "no answer")) for name in names]


@pytest.mark.timeout(300)
def test_a_flood_of_ids_from_one_key_is_answered_and_bounded(gateway: Gateway) -> None:
    """All get 200; beyond the key's share stable answers, and neither memory nor disk keeps it.

    Who was there before stays where he is, and other callers begin as ever.
    """
    held = [f"held-{n}" for n in range(20)]
    assert ask_all(gateway, held) == [(200, "candidate")] * len(held)
    ask_all(gateway, [f"warm-{n}" for n in range(WARM)], "sk-carol")  # fills buffers and caches
    memory, files, kept = resident(gateway), disk(gateway), pins(gateway)
    counted = gateway.metrics()
    first = time.monotonic() // 60  # the workers' clock is this host's
    flood = ask_all(gateway, [f"flood-{n}" for n in range(IDS)])
    shares = time.monotonic() // 60 - first + 1
    assert {status for status, _ in flood} == {200}
    arms = Counter(arm for _, arm in flood)
    assert SHARE - len(held) <= arms["candidate"] <= shares * SHARE < IDS
    assert pins(gateway) - kept == arms["candidate"]
    assert resident(gateway) - memory < 32 * MIB
    assert disk(gateway) - files < 12 * MIB
    assert ask_all(gateway, held) == [(200, "candidate")] * len(held)
    assert ask_all(gateway, ["bobs"], "sk-bob") == [(200, "candidate")]

    def grown(metric: str, **where: str) -> int:
        return (tally(gateway.metrics(), metric, (), service="flood", **where)[()]
                - tally(counted, metric, (), service="flood", **where)[()])

    eventually(lambda: grown("coalmine_attempts_total") == IDS + len(held) + 1)
    assert grown("coalmine_unrecognised_total", reason="too_many_new") == arms["stable"]
    assert grown("coalmine_conversations_total") == arms["candidate"] + 1
    assert "coalmine_faults_total" not in gateway.metrics()


# what does not fit -----------------------------------------------------------------------------


def raw(gateway: Gateway, headers: list[tuple[bytes, bytes]], path: str = "/v1/chat/completions",
        **body: Any) -> tuple[int, bytes]:
    """Send bytes as no client's library would; return the status and all that came back."""
    content = json.dumps({"model": "flood", **body}).encode()
    sent = b"".join(b"%s: %s\r\n" % header for header in (
        (b"host", b"proxy"), (b"authorization", b"Bearer sk-bob"), (b"connection", b"close"),
        (b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)),
        *headers))
    got = b""
    with socket.create_connection(("127.0.0.1", gateway.port), 10) as connection:
        # The server need not read what it has refused: it answers and closes, maybe while we still
        # send. Its answer is there to be read all the same.
        with suppress(ConnectionError):
            connection.sendall(b"POST %s HTTP/1.1\r\n%s\r\n%s" % (path.encode(), sent, content))
        with suppress(ConnectionError):
            while piece := connection.recv(65536):
                got += piece
    return int(got.split(b" ", 2)[1]), got


HI = [{"role": "user", "content": "Hi"}]
TOO_MUCH = {
    "one of 1 MB": [(b"x-coalmine-session", b"x" * MIB)],
    "1 MB in twenty": [(b"x-filler-%d" % n, b"x" * (MIB // 20)) for n in range(20)],
    "ten thousand": [(b"x-filler-%d" % n, b"x" * 90) for n in range(10_000)],
    "an id with a zero": [(b"x-coalmine-session", b"a\x00b")],
}


@pytest.mark.parametrize("headers", TOO_MUCH.values(), ids=TOO_MUCH)
def test_headers_that_the_server_refuses_never_reach_us(
    gateway: Gateway, headers: list[tuple[bytes, bytes]]
) -> None:
    """uvicorn takes 64 KB of headers; more is its 400, nothing is counted, memory stays."""
    raw(gateway, headers, messages=HI)
    memory, counted = resident(gateway), gateway.attempts("flood").total()
    for _ in range(20):
        status, got = raw(gateway, headers, messages=HI)
        assert status in (400, 431), got[:300]
        assert b"oalmine" not in got
    assert resident(gateway) - memory < 8 * MIB
    assert raw(gateway, [], messages=HI)[0] == 200
    eventually(lambda: gateway.attempts("flood").total() == counted + 1)


TAKEN: dict[str, tuple[list[tuple[bytes, bytes]], dict[str, Any]]] = {
    "an id of 60 KB": ([(b"x-coalmine-session", b"x" * 60_000)], {"messages": HI}),
    "an id of all high bytes": (
        [(b"x-coalmine-session", bytes(range(0x80, 0x100)))], {"messages": HI}),
    "two ids": ([(b"x-coalmine-session", b"a"), (b"x-coalmine-session", b"b")], {"messages": HI}),
    "a session of 1 MB in the body": (
        [], {"messages": HI, "litellm_session_id": "x" * MIB,
             "metadata": {"session_id": "x" * MIB, "user_id": "u_session_" + "x" * MIB}}),
    "a message of 1 MB": ([], {"messages": [{"role": "user", "content": "x" * MIB}]}),
    "ten thousand messages": (
        [], {"messages": [{"role": "user", "content": f"m{n}"} for n in range(10_000)]}),
    "a forged record of ours": (
        [], {"messages": HI, "metadata": {"coalmine": {"arm": "stable", "release": "v1"}}}),
    "our own answer's headers": (
        [(b"x-coalmine-arm", b"stable"), (b"x-coalmine-release", b"v1"),
         (b"x-coalmine-epoch", b"999"), (b"x-coalmine-moved", b"v2"),
         (b"x-coalmine-shadow", b"1"), (b"x-coalmine-drill", b"1")], {"messages": HI}),
}


@pytest.mark.parametrize(("headers", "body"), TAKEN.values(), ids=TAKEN)
def test_what_is_odd_but_arrives_is_answered_like_anything_else(
    gateway: Gateway, headers: list[tuple[bytes, bytes]], body: dict[str, Any]
) -> None:
    """By the candidate, which gets all that is new; it is counted once, and nothing is a fault."""
    counted = gateway.attempts("flood")
    for _ in range(3):
        status, got = raw(gateway, headers, **body)
        assert status == 200, got[-600:]
        told = got.split(b"\r\n\r\n")[0].lower()
        assert b"\r\nx-coalmine-release: v2\r\n" in told
        assert b"\r\nx-coalmine-arm: candidate\r\n" in told
        assert b"x-coalmine-moved" not in told
    eventually(lambda: gateway.attempts("flood") - counted == {("flood-green-1", "ok"): 3})
    assert "coalmine_faults_total" not in gateway.metrics()
