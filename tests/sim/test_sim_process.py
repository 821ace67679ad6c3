"""Engines as processes: how they start, fail to, and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from coalmine.sim import EngineProcess, Faults

Until = Callable[..., Any]

CHAT = "/v1/chat/completions"
HI = {"messages": [{"role": "user", "content": "Hi"}]}


def post(engine: EngineProcess) -> httpx.Response:
    """Ask the engine."""
    return httpx.post(engine.url + CHAT, json=HI, trust_env=False, timeout=10)


def gone(pid: int) -> bool:
    """Whether no such process runs any more; one that only waits to be reaped is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_engine_starts_with_its_faults_and_ends_cleanly() -> None:
    """It answers while the block lasts; SIGTERM ends it with 0."""
    engine = EngineProcess("blue", "v1", faults=Faults(error_share=1, error_status=503))
    with engine:
        assert engine.url.startswith("http://127.0.0.1:")
        assert engine.faults().error_status == 503
        assert post(engine).status_code == 503
        engine.set_faults()
        assert post(engine).json()["model"] == "v1"
        pid = engine.pid
        assert pid is not None
        assert engine.stop() == 0
    assert gone(pid)
    assert not engine.alive
    assert engine.stop() is None


def test_seeds_make_engines_alike_or_different() -> None:
    """Words follow the seed, the tag follows the release."""
    with (
        EngineProcess("blue", "v1", seed=7) as blue,
        EngineProcess("green", "v2", seed=7) as green,
        EngineProcess("third", "v1", seed=8) as third,
    ):
        said = [
            post(engine).json()["choices"][0]["message"]["content"].split(" ", 1)
            for engine in (blue, green, third)
        ]
    assert [tag for tag, _ in said] == ["[v1]", "[v2]", "[v1]"]
    assert said[0][1] == said[1][1] != said[2][1]


def test_an_engine_that_died_comes_back_on_its_port() -> None:
    """Killed without a word, it can be started again where it was."""
    with EngineProcess("blue", "v1") as engine:
        port = int(engine.url.rpartition(":")[2])
        post(engine)
        engine.kill()
        with pytest.raises(httpx.ConnectError):
            post(engine)
        with EngineProcess("blue", "v1", port=port) as again:
            assert again.url == engine.url
            assert post(again).status_code == 200


def test_a_taken_port_is_told() -> None:
    """The error holds what the engine said."""
    with EngineProcess("blue", "v1") as engine:
        port = int(engine.url.rpartition(":")[2])
        with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{port}"):
            EngineProcess("green", "v2", port=port).start()


def test_a_hanging_request_does_not_keep_an_engine_from_ending(until: Until) -> None:
    """What is in flight is dropped after the shutdown timeout."""
    with EngineProcess("blue", "v1", faults=Faults(hang_share=1), shutdown_timeout=0) as engine:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(engine.url + CHAT, json=HI, trust_env=False, timeout=0.1)
        with httpx.Client(trust_env=False) as client:
            request = client.build_request("POST", engine.url + CHAT, json=HI)
            request.extensions["timeout"] = {"read": 0.1}
            with pytest.raises(httpx.ReadTimeout):
                client.send(request)
            assert engine.stop() == 0


def test_an_engine_told_to_end_completes_what_it_has_begun() -> None:
    """Like a vLLM with a shutdown timeout, it lets streams that fit run to their end."""
    with EngineProcess("blue", "v1") as engine, httpx.Client(trust_env=False) as client:
        assert engine.pid is not None
        body = {**HI, "stream": True}
        with client.stream("POST", engine.url + CHAT, json=body) as reply:
            parts = reply.iter_raw()
            begun = next(parts)
            os.kill(engine.pid, signal.SIGTERM)
            assert (begun + b"".join(parts)).endswith(b"data: [DONE]\n\n")
        assert engine.stop() == 0


def test_an_engine_ends_with_its_parent(until: Until) -> None:
    """Even a parent killed without warning leaves no engine behind."""
    script = """
        import sys
        from coalmine.sim import EngineProcess
        engine = EngineProcess("blue", "v1").start()
        print(engine.pid, flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        os.kill(parent.pid, signal.SIGKILL)
        until(lambda: gone(pid), 5.0)


def test_the_command_announces_itself_and_writes_its_port(tmp_path: Path) -> None:
    """One line on standard output, and the port in a file for who cannot read that."""
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "coalmine.sim", "--name", "blue", "--release", "v1"]
    command += ["--served-name", "chat-v1", "--served-name", "chat", "--seed", "3"]
    command += ["--faults", '{"overload": true}', "--port-file", str(port_file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready, url = process.stdout.readline().split()
        assert (ready, url) == ("ready", f"http://127.0.0.1:{port_file.read_text().strip()}")
        models = httpx.get(f"{url}/v1/models", trust_env=False).json()["data"]
        assert [model["id"] for model in models] == ["chat-v1", "chat"]
        assert httpx.post(url + CHAT, json=HI, trust_env=False).status_code == 429
        process.terminate()
        assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--faults", '{"eror_share": 1}'], "did you mean 'error_share'?"),
        (["--faults", "{"], "Expecting property name"),
        (["--tokens", "0"], "give at least one token"),
    ],
)
def test_a_bad_call_is_refused_with_the_reason(extra: list[str], said: str) -> None:
    """Exit code 2 and the reason on standard error."""
    command = [sys.executable, "-m", "coalmine.sim", "--name", "blue", "--release", "v1", *extra]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_wrong_faults_are_refused_before_they_are_sent(engine: EngineProcess) -> None:
    """The caller gets the reason as a ValueError, and the engine is as it was."""
    with pytest.raises(ValueError, match="cut_share=2"):
        engine.set_faults(cut_share=2)
    assert engine.faults() == Faults()


def test_an_engine_that_was_not_started_says_so() -> None:
    """There is no address yet."""
    with pytest.raises(RuntimeError, match=r"call start\(\)"):
        _ = EngineProcess("blue", "v1").url


def test_the_room_imports_neither_litellm_nor_other_rooms() -> None:
    """The engines stand alone, so that tests of the rest can trust them."""
    script = """
        import sys
        import coalmine.sim.server
        print(*{name.split(".")[1] for name in sys.modules if name.startswith("coalmine.")},
              *{"litellm"} & {*sys.modules})
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sim"]
