"""`coalmine simulate`: traffic as JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys


def test_it_prints_json_lines_without_asking_a_gateway(run, gateway):
    """The first begins a conversation."""
    done = run("simulate", "dead", "--hours", "0.01", "--weight", "50", "--rate", "20")
    assert (done.exit_code, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["turn"] == 0
    outcomes = {(e["arm"], e["outcome"]) for e in events if "arm" in e}
    assert {("candidate", "error"), ("stable", "ok")} <= outcomes
    assert ("candidate", "ok") not in outcomes
    assert gateway.asked == []


def test_options_reach_the_scenario(run):
    """The same seed prints the same, another one does not, and the onset is kept."""
    command = ("simulate", "dead", "--hours", "0.02", "--weight", "50", "--onset", "60")
    text = run(*command).stdout
    assert text == run(*command, "--seed", "1").stdout
    assert text != run(*command, "--seed", "2").stdout
    good = [e["t"] for e in map(json.loads, text.splitlines())
            if (e.get("arm"), e.get("outcome")) == ("candidate", "ok")]
    assert 50.0 < max(good) < 60.0


def test_it_writes_into_a_file(run, tmp_path):
    """Then nothing is printed."""
    done = run("simulate", "healthy", "--hours", "0.01", "--out", str(tmp_path / "e.jsonl"))
    assert (done.exit_code, done.stdout) == (0, "")
    lines = (tmp_path / "e.jsonl").read_text().splitlines()
    assert lines == run("simulate", "healthy", "--hours", "0.01").stdout.splitlines()


def test_a_file_that_cannot_be_written_is_one_line_and_exit_code_1(run, tmp_path):
    """With its name."""
    done = run("simulate", "healthy", "--hours", "0.01", "--out", str(tmp_path / "no" / "e"))
    assert done.exit_code == 1
    assert done.stderr == f"coalmine: {tmp_path}/no/e: No such file or directory\n"


def test_it_lists_the_scenarios(run):
    """A name and a line for each."""
    lines = run("simulate", "--list").stdout.splitlines()
    assert lines[1] == "dead         every request of the candidate fails"
    assert len(lines) >= 10


def test_what_makes_no_sense_is_one_line_and_exit_code_1(run):
    """An unknown scenario, with the nearest one, or a number."""
    done = run("simulate", "daed")
    assert done.exit_code == 1
    assert done.stderr == "coalmine: no scenario is called 'daed': did you mean 'dead'?\n"
    done = run("simulate", "dead", "--weight", "101")
    assert done.stderr == "coalmine: weight=101.0: give percent, 0 to 100\n"
    done = run("simulate", "dead", "--hours", "-1")
    assert done.stderr == "coalmine: --hours -1: give a number, more than 0\n"


def test_a_reader_who_has_had_enough_is_no_error(environment):
    """As `head` does."""
    command = [sys.executable, "-m", "coalmine.cli.main", "simulate", "healthy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"t": ')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
