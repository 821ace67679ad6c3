"""The policy file: read at the start, re-read when it changes, never half."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coalmine.control.policy_report import PolicyReport
from coalmine.gateway.knowledge import StateUnused
from coalmine.gateway.policy_source import REREAD, PolicySource, PolicyUnreadable

TEXT = """
state: {state}
services:
  chat:
    releases: {{v1: {{slot: blue}}, v2: {{slot: green}}}}
    stable: {stable}
"""


class Wall:
    """Unix time, turned by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    """The wall clock."""
    return Wall()


@pytest.fixture
def source(tmp_path: Path, mono: Any, wall: Wall) -> Callable[..., PolicySource]:
    """The source of a file with this text; None for no file."""

    def make(text: str | bytes | None = None, **environ: str) -> PolicySource:
        path = tmp_path / "coalmine.yaml"
        if text is not None:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return PolicySource(path, environ, mono, wall)

    return make


def text(stable: str = "v1", state: str = "sqlite:///coalmine.db") -> str:
    return TEXT.format(stable=stable, state=state)


def rewrite(source: PolicySource, mono: Any, content: str) -> None:
    """Replace the file as editors do, and let the time of the next look come."""
    aside = source.path.with_suffix(".new")
    aside.write_text(content)
    os.replace(aside, source.path)
    mono.now += REREAD
    source.reread()


def test_without_a_file_it_observes(source: Any) -> None:
    """That is no error."""
    made = source()
    assert (made.policy, made.error, made.observing) == (None, None, True)
    assert made.secret("metrics_token") is None


def test_a_file_is_read_at_the_start(source: Any) -> None:
    """And nothing is wrong."""
    made = source(text())
    assert made.policy.services["chat"].stable == "v1"
    assert (made.error, made.observing) == (None, False)


@pytest.mark.parametrize("content", [
    "services: [", "5", "colour: red", text("v9"), b"\xff\xfe\x00", "state: redis://u:p@h",
])
def test_a_faulty_file_at_the_start_is_an_error_and_not_observing(
    source: Any, content: str | bytes
) -> None:
    """Who wrote a policy wants more than figures: stable is served as the snapshot names it."""
    made = source(content)
    assert made.policy is None
    assert made.error is not None
    assert not made.observing
    with pytest.raises(StateUnused, match="error"):
        made.state_url()


def test_a_change_is_in_force_at_the_next_look(source: Any, mono: Any) -> None:
    """Which comes well within five seconds."""
    made = source(text())
    assert REREAD < 5
    rewrite(made, mono, text("v2"))
    assert made.policy.services["chat"].stable == "v2"


def test_between_two_looks_the_file_is_left_alone(source: Any, mono: Any) -> None:
    """It is asked for often."""
    made = source(text())
    made.path.write_text(text("v2"))
    mono.now += REREAD - 0.01
    made.reread()
    assert made.policy.services["chat"].stable == "v1"


def test_a_file_that_has_not_changed_is_not_read_again(source: Any, mono: Any) -> None:
    """The policy stays the very same object."""
    made = source(text())
    before = made.policy
    mono.now += REREAD
    made.reread()
    assert made.policy is before


def test_a_faulty_change_keeps_the_policy_in_force(source: Any, mono: Any) -> None:
    """And says what is wrong until it is right again."""
    made = source(text())
    rewrite(made, mono, text("v9"))
    assert made.policy.services["chat"].stable == "v1"
    assert "v9" in str(made.error)
    rewrite(made, mono, text("v2"))
    assert (made.policy.services["chat"].stable, made.error) == ("v2", None)


def test_the_report_says_how_many_errors_there_are_and_since_when(
    source: Any, mono: Any, wall: Any
) -> None:
    """At the start none is in force; later the last good one is."""
    made = source(text("v9") + "colour: red\n")
    report = made.report()
    assert (report.status, report.in_force, report.blocks) == ("error", False, True)
    assert (len(report.errors), report.since) == (2, 1000.0)
    assert all(error.startswith(f"{made.path}:") for error in report.errors)
    rewrite(made, mono, text())
    assert made.report() == PolicyReport(file=str(made.path))
    wall.now = 2000.0
    rewrite(made, mono, text("v9"))
    wall.now = 3000.0
    rewrite(made, mono, text("v8"))
    later = made.report()
    assert (later.in_force, later.blocks, later.since) == (True, False, 2000.0)
    assert later.message.endswith("has 1 error; the last good one is in force")


def test_a_file_that_cannot_be_read_is_one_error(source: Any) -> None:
    """Said as the log says it."""
    (error,) = source(b"\xff\xfe\x00").report().errors
    assert "is not UTF-8" in error


def test_no_file_is_nothing_to_report(source: Any) -> None:
    """Observing is no error."""
    report = source().report()
    assert (report.status, report.in_force, report.message) == ("ok", False, "")


def test_a_file_that_is_gone_keeps_the_policy_in_force(source: Any, mono: Any) -> None:
    """And comes back."""
    made = source(text())
    made.path.unlink()
    mono.now += REREAD
    made.reread()
    assert made.policy is not None
    rewrite(made, mono, text("v2"))
    assert made.policy.services["chat"].stable == "v2"


def test_a_faulty_file_that_is_repaired_is_taken(source: Any, mono: Any) -> None:
    """Without a restart."""
    made = source("services: [")
    rewrite(made, mono, text())
    assert (made.policy.services["chat"].stable, made.error) == ("v1", None)
    assert made.state_url() == "sqlite:///coalmine.db"


def test_a_path_that_is_no_file_is_an_error(tmp_path: Path, mono: Any) -> None:
    """A directory was mounted where the file should be."""
    made = PolicySource(tmp_path, {}, mono)
    assert isinstance(made.error, PolicyUnreadable)
    assert not made.observing


def test_secrets_are_looked_up_in_the_environment(source: Any) -> None:
    """They never stand in the file."""
    made = source(text(state="os.environ/STATE") + "metrics_token: os.environ/TOKEN\n",
                  STATE="redis://h", TOKEN="t")
    assert (made.state_url(), made.secret("metrics_token")) == ("redis://h", "t")
    assert made.secret("alertmanager_token") is None


def test_a_variable_that_is_not_set_is_named(source: Any) -> None:
    """With what to do."""
    made = source(text(state="os.environ/STATE") + "metrics_token: os.environ/TOKEN\n")
    for ask, name in ((made.state_url, "STATE"), (lambda: made.secret("metrics_token"), "TOKEN")):
        with pytest.raises(PolicyUnreadable, match=name) as missing:
            ask()
        assert missing.value.hint == f"set {name}"


def test_files_of_ours_stand_beside_it_hidden(source: Any, tmp_path: Path) -> None:
    """The snapshot does."""
    assert source().beside("snapshot.json") == tmp_path / ".snapshot.json"
