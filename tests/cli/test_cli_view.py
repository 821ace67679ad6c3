"""What a person sees of a service: from the API's JSON to words and tables."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from coalmine.cli import figures, view

NOW = figures.moment("2026-03-01T10:12:03Z").timestamp()


def shown(found: dict, width: int = 80, **options) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)
    console.print(view.status(found, NOW))
    return console.file.getvalue()


SEEN = """\
╭─ chat ───────────────────────────────────────────────────────────────────────╮
│ canary for 12m 3s, step 2 of 4                                               │
│ ██░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 5 %                                 │
│ stable v1 · candidate v2 · rollout chat-3 · epoch 17                         │
│ reason: promoted by ada                                                      │
│ verdict: hold: soak 12 of 30 min                                             │
╰──────────────────────────────────────────────────────────────────────────────╯
                                stable       candidate
──────────────────────────────────────────────────────
release, slot                 v1, blue       v2, green
conversations                   12 041             631
attempts                        30 210           1 502
failures                    91 (0.3 %)       6 (0.4 %)
in flight                           14               2
TTFT p50/p95/p99, ms   120 / 310 / 640   150 / 812 / –

guardrail   metric             status    candidate   limit    against
────────────────────────────────────────────────────────────────────────────────
errors      error_rate         ok        0.4 %       0.6 %    stable 0.3 %
ttft-p95    ttft_p95           breach    812 ms      403 ms   baseline 310 ms
cost        cost_per_request   no_data   –           –        12 of 30
                                                              conversations

worker    gateway   epoch            seen
───────────────────────────────────────────────────────────
gw1-101   gw1       17               now
gw1-102   gw1       16      behind   silent for 40s (gone?)
"""


def test_a_service_in_canary_on_80_columns(chat):
    seen = [line.rstrip() for line in shown(chat).splitlines()]
    assert seen == SEEN.splitlines()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_no_width_loses_a_figure_or_breaks_a_line(chat, width):
    seen = shown(chat, width)
    assert max(map(len, seen.splitlines())) <= width
    for word in ("canary", "v2", "812", "gw1"):
        assert word in seen


def test_a_terminal_gets_colour_for_what_matters(chat):
    seen = shown(chat, force_terminal=True, color_system="standard")
    assert "\x1b[36mcanary" in seen
    assert "\x1b[1;31mbreach" in seen
    assert "\x1b[1;33mbehind" in seen


def test_no_color_is_respected(chat, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    seen = shown(chat, force_terminal=True)
    assert not [code for code in ("[31m", "[36m", "[33m", "[32m") if code in seen]


@pytest.mark.parametrize(
    ("phase", "more", "words"),
    [
        ("idle", {"candidate": None, "step": None, "weight": 0, "verdict": None,
                  "rollout": None}, ["idle for", "stable v1 · epoch 17"]),
        ("canary", {"waiting": "approval"}, ["canary for", "waiting for approval"]),
        ("paused", {}, ["paused for", "5 %"]),
        ("baking", {"weight": 98}, ["baking for", "98 %"]),
        ("rolling_back", {"weight": 0}, ["rolling_back for", " 0 %"]),
        ("rolled_back", {"weight": 0, "workers": [], "unrecognised": None}, ["rolled_back for"]),
        ("from_the_future", {}, ["from_the_future"]),
    ],
)
def test_every_phase_is_shown(chat, phase, more, words):
    seen = shown({**chat, "phase": phase, **more})
    for word in words:
        assert word in seen


def test_null_everywhere_still_shows(chat):
    seen = shown({**dict.fromkeys(chat), "service": "chat", "phase": "idle"})
    assert "idle for –" in seen


def test_keys_that_an_older_gateway_does_not_send_read_as_null():
    assert "chat" in shown({"service": "chat", "phase": "idle"})


def test_figures_of_the_wrong_kind_do_not_end_the_watch(chat):
    chat["weight"] = "5"
    chat["since"] = "yesterday"
    chat["arms"]["candidate"]["ttft_p50"] = "fast"
    chat["workers"][0]["seen"] = None
    chat["verdict"]["guardrails"][0]["candidate"] = {}
    assert "canary for –" in shown(chat)


def test_a_thousandth_is_not_shown_as_nothing(chat):
    assert "█░" in shown({**chat, "weight": 0.1})
    assert "0.1 %" in shown({**chat, "weight": 0.1})
    assert "█░ 99.9 %" in shown({**chat, "weight": 99.9})


def test_markup_in_a_reason_is_text(chat):
    chat["reason"] = "[bold]slow[/bold] [rollback] [/]"
    assert "reason: [bold]slow[/bold] [rollback] [/]" in shown(chat)


def test_a_reason_cannot_repaint_the_terminal(chat):
    chat["reason"] = "ok\x1b[2J\x1b]0;owned\x07\u202e\r\nidle"
    seen = shown(chat, force_terminal=True, color_system=None)
    assert "\x1b[2J" not in seen
    assert "\x1b]" not in seen
    assert "\u202e" not in seen
    assert "reason: ok [2J ]0;owned idle" in seen


def test_a_grace_that_runs_is_shown_with_its_end(chat):
    seen = " ".join(shown({**chat, "grace_until": "2026-03-01T10:12:50Z"}).split())
    assert "grace until 10:12:50 UTC (47s): ids that are first seen now count as old" in seen
    assert "grace" not in shown({**chat, "grace_until": None})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"against": "limit", "limit": 0.05, "stable": None}, "5 % the policy"),
        ({"against": "baseline", "limit": 0.05, "stable": 0.02}, "5 % baseline 2 %"),
        (
            {"against": "stable", "limit": 0.1538, "stable": 0.0, "one_in": 13},
            "15.4 % stable 0 %, as 1 failure in 13",
        ),
        ({"against": "stable", "limit": 0.05, "stable": 0.02, "one_in": None}, "5 % stable 2 %"),
        ({"against": "budget", "limit": 14.4, "candidate": 15.6, "stable": None},
         "burns 15.6 × burns 14.4 × the error budget"),
        ({"against": None, "limit": None, "stable": None}, "– –"),
        ({"status": "no_data", "sentence": "e: nothing to compare with"}, "nothing to compare"),
        ({"status": "no_data"}, "– –"),
    ],
)
def test_a_guardrails_limit_says_what_it_was_made_of(chat, found, words):
    rail = {"name": "e", "metric": "error_rate", "status": "ok", "candidate": 0.01, **found}
    seen = " ".join(shown({**chat, "verdict": {"guardrails": [rail]}}, 120).split())
    assert words in seen


@pytest.mark.parametrize(("evidence", "bar", "words"), [
    (0.312, 1000.0, "evidence 0.31 of 1 000"), (1240.4, 1000.0, "evidence 1 240 of 1 000"),
    (3.2e15, 1000.0, "evidence 3.2e+15 of 1 000"), (12.4, None, "–"), (None, None, "–"),
])
def test_evidence_stands_beside_its_bar(chat, evidence, bar, words):
    rail = {"name": "e", "metric": "ttft", "status": "ok", "candidate": 0.31, "stable": 0.3,
            "against": "stable", "evidence": evidence, "bar": bar}
    seen = " ".join(shown({**chat, "verdict": {"guardrails": [rail]}}, 120).split())
    assert f"310 ms {words} stable 300 ms" in seen


def test_many_unrecognised_conversations_are_warned_of(chat):
    assert "warning" not in shown({**chat, "unrecognised": 0.2})
    seen = " ".join(shown({**chat, "unrecognised": 0.35}).split())
    assert "warning: 35 % of chat's conversations of the last hour could not be recog" in seen


class TestSeveralServices:
    def test_are_a_line_each(self, chat):
        idle = {**chat, "service": "embed", "phase": "idle", "candidate": None, "step": None,
                "weight": 0, "verdict": None}
        seen = shown({"services": [chat, idle]}).splitlines()
        assert seen[0].split() == ["service", "phase", "for", "weight", "step", "stable",
                                   "candidate", "verdict"]
        assert seen[2].split() == "chat canary 12m 3s 5 % 2 of 4 v1 v2 hold".split()
        assert seen[3].split() == "embed idle 12m 3s 0 % – v1 – –".split()

    def test_but_a_single_one_is_shown_at_length(self, chat):
        assert shown({"services": [chat]}) == shown(chat)

    def test_and_none_is_explained(self):
        assert "there is no policy file, so Coalmine observes" in shown({"services": []})
        policy = {"status": "ok", "file": "/srv/gate/coalmine.yaml"}
        assert "no policy file /srv/gate/coalmine.yaml, so" in shown(
            {"services": [], "policy": policy})


class TestStatus:
    def test_of_one_service_asks_for_it_alone(self, run, gateway):
        assert "guardrail" in run("status", "chat").stdout
        assert gateway.asked[-1][1] == "/coalmine/api/services/chat"

    def test_as_json_is_the_apis(self, run, gateway, chat):
        gateway.services["chat"]["later"] = {"unknown": ["ä", None]}
        assert json.loads(run("status", "chat", "--json").stdout) == gateway.services["chat"]
        assert json.loads(run("status", "--json").stdout) == {
            "services": [gateway.services["chat"]]
        }

    def test_of_an_unknown_service_says_which_are_known(self, run):
        done = run("status", "chta")
        assert done.exit_code == 1
        assert done.stderr == "coalmine: service 'chta' is not known (known: chat)\n"


class TestFigures:
    @pytest.mark.parametrize(
        ("value", "unix"),
        [
            ("1970-01-01T00:00:10Z", 10.0),
            ("1970-01-01T00:00:10.5Z", 10.5),
            ("1970-01-01T00:00:10.1234567Z", 10.123456),
            ("1970-01-01T01:00:10+01:00", 10.0),
            ("1970-01-01T00:00:10", 10.0),
        ],
    )
    def test_moments_are_read_in_every_form_of_rfc_3339(self, value, unix):
        assert figures.moment(value).timestamp() == unix

    @pytest.mark.parametrize(
        ("ago", "words"), [(-5, "0s"), (0.4, "0s"), (59.9, "59s"), (3661, "1h 1m"), (2e5, "2d 7h")]
    )
    def test_ages_have_two_units_at_most(self, ago, words):
        assert figures.age("1970-01-03T00:00:00Z", 172800 + ago) == words

    def test_what_is_to_come_says_when_and_how_long(self):
        assert figures.until("1970-01-01T00:01:00.500Z", 12.7) == "00:01:00 UTC (48s)"

    @pytest.mark.parametrize(
        ("metric", "value", "words"),
        [
            ("error_rate", 0.0123, "1.23 %"), ("availability", 0.999, "99.9 %"),
            ("inter_token_p95", 0.0312, "31.2 ms"), ("request_p99", 12.5, "12500 ms"),
            ("tokens_per_request", 512.4, "512.4"), ("throughput", None, "–"),
            (None, 3, "3"), ("error_rate", True, "–"),
        ],
    )
    def test_a_metric_has_its_unit(self, metric, value, words):
        assert figures.measured(metric, value) == words

    def test_no_attempts_have_no_rate(self):
        assert figures.share(0, 0) == "0"
        assert figures.share(None, 4) == "–"
