"""`status --watch`: changes appear, a restart is survived, Ctrl-C is no failure."""

from __future__ import annotations

import codecs
import io
import itertools
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.live import Live

from coalmine.cli import view, words
from coalmine.cli.client import Refused, Unreachable
from coalmine.cli.watch import Lines, Picture, watch
from coalmine.cli.watch import run as watch_on


class Looks:
    """Gives the answers one after the other, then Ctrl-C."""

    def __init__(self, *answers) -> None:
        self._answers = list(answers)
        self.waited: list[float] = []

    def __call__(self):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        if not self._answers:
            raise KeyboardInterrupt


def watched(*answers) -> list[str]:
    """The lines that a pipe gets."""
    lines: list[str] = []
    looks = Looks(*answers)
    with pytest.raises(KeyboardInterrupt):
        ticks = itertools.count(3600.0)
        watch(
            looks, Lines(lines.append, words.sentences),
            clock=lambda: next(ticks), sleep=looks.sleep,
        )
    assert set(looks.waited) == {0.5}
    return lines


def test_a_pipe_gets_a_line_for_each_change_only(chat):
    more = {**chat, "arms": None, "weight": 25, "step": 3, "epoch": 18}
    assert watched(chat, chat, {**chat, "reason": "x"}, more, more) == [
        "chat is canary, step 2 of 4, 5 % of new conversations to v2 (epoch 17)",
        "chat is canary, step 3 of 4, 25 % of new conversations to v2 (epoch 18)",
    ]


def test_a_restart_is_told_once_and_survived(chat):
    gone = Unreachable("cannot reach http://gw: connection refused")
    assert watched(chat, gone, gone, chat) == [
        "chat is canary, step 2 of 4, 5 % of new conversations to v2 (epoch 17)",
        "unreachable since 01:00:00 UTC: cannot reach http://gw: connection refused",
        "chat is canary, step 2 of 4, 5 % of new conversations to v2 (epoch 17)",
    ]


def test_the_first_look_must_succeed():
    with pytest.raises(Refused):
        watch(Looks(Refused("the key is not known")), Lines(print, words.sentences))


def test_the_picture_keeps_the_last_known_below_the_trouble(chat):
    console = Console(record=True, width=80, force_terminal=True, file=open(os.devnull, "w"))  # noqa: SIM115
    looks = Looks(chat, Unreachable("cannot reach http://gw"))
    with pytest.raises(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        watch(looks, Picture(live, view.status), clock=lambda: 0.0, sleep=looks.sleep)
    console.file.close()
    seen = console.export_text()
    after = seen[seen.index("unreachable since 00:00:00 UTC"):]
    assert "below is the last known" in " ".join(after.split())
    assert "canary" in after


class Interrupts:
    """Ctrl-C comes while it is finalized, where Python drops the exception."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(100):  # the handler runs between two instructions
            pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ctrl_c_that_comes_in_a_finalizer_is_not_lost(chat):
    looks: list[Interrupts | None] = [Interrupts(), None, None]

    def gather():
        looks.pop()  # the last one is finalized here
        return chat

    before = signal.getsignal(signal.SIGINT)
    watch_on(gather, view.status, words.sentences, Console(file=io.StringIO()))
    assert looks == []
    assert signal.getsignal(signal.SIGINT) is before


def test_json_and_watch_do_not_go_together(run):
    assert run("status", "--watch", "--json").exit_code == 2


class Terminal:
    """The real command on a terminal of its own."""

    def __init__(self, environment: dict[str, str], *args: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coalmine.cli.main", *args],
            env={**environment, "TERM": "xterm", "COLUMNS": "80", "LINES": "60"},
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )
        os.close(slave)
        self.text = ""
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def until(self, pattern: str, seconds: float = 30.0) -> str:
        """Wait until the screen, from the last match on, shows `pattern`; return what it showed."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text[-3000:]!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                self.text += self._decode(os.read(self._master, 65536))
        seen, self.text = self.text, self.text[found.end():]
        return seen

    def ctrl_c(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)
        os.close(self._master)


@pytest.fixture
def terminal(environment, gateway) -> Iterator[Terminal]:
    found = Terminal(environment, "status", "chat", "--watch")
    yield found
    found.close()


def test_a_terminal_sees_changes_a_restart_and_ctrl_c_ends_with_0(terminal, gateway, key):
    seen = terminal.until("canary")
    assert "\x1b[" in seen
    gateway.services["chat"].update(phase="paused", reason="ttft-p95 is over")
    seen += terminal.until("paused")
    gateway.down()
    seen += terminal.until(r"unreachable since \d\d:\d\d:\d\d UTC")
    seen += terminal.until("paused")
    gateway.services["chat"].update(phase="rolling_back", weight=0)
    gateway.up()
    seen += terminal.until("rolling_back")
    assert key not in seen
    assert terminal.ctrl_c() == 0
