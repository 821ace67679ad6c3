"""The command as people run it: exit codes, one-line reasons, what it asks the API."""

from __future__ import annotations

import json

import pytest

from coalmine.cli import client_errors
from coalmine.cli.client import ClientError
from coalmine.cli.exits import EXIT_CODES, MEANINGS, exit_code
from coalmine.cli.group import hoisted
from coalmine.release.errors import CoalmineError


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(subclasses(CoalmineError), key=lambda kind: kind.__name__))
def test_every_error_has_an_exit_code_that_is_documented(kind):
    assert exit_code(kind.__new__(kind)) in set(MEANINGS) - {0}


def test_every_error_of_the_client_has_a_row_of_its_own():
    assert subclasses(ClientError) <= set(EXIT_CODES)
    assert EXIT_CODES[client_errors.Unreachable] == 3
    assert EXIT_CODES[client_errors.Refused] == EXIT_CODES[client_errors.BadAnswer] == 1


class TestAsAProcess:
    def test_a_command_prints_what_it_led_to_and_ends_with_0(self, process, gateway):
        done = process("pause", "chat", "--reason", "looking")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "chat is paused, step 2 of 4, 5 % of new conversations to v2 (epoch 18)\n"
        )
        assert gateway.services["chat"]["reason"] == "looking"

    def test_a_refusal_is_one_line_on_stderr_and_ends_with_1(self, process):
        done = process("resume", "chat")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "coalmine: chat is canary: resume is not possible (try later)\n"

    def test_a_missing_reason_is_a_usage_error_and_ends_with_2(self, process, gateway):
        done = process("rollback", "chat")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--reason" in done.stderr
        assert gateway.asked == []

    def test_a_closed_port_is_one_line_and_ends_with_3(self, process, closed_port):
        done = process("status", COALMINE_URL=f"http://127.0.0.1:{closed_port}")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == (
            f"coalmine: cannot reach http://127.0.0.1:{closed_port}: connection refused "
            "(is the proxy up, and is the address right?)\n"
        )

    def test_status_into_a_pipe_has_no_colour_and_fits_80_columns(self, process):
        done = process("status", TERM="xterm-256color")
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_a_locale_without_unicode_loses_signs_but_not_the_command(self, process, gateway):
        gateway.services["chat"]["reason"] = "größer 🐤"
        done = process("status", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
        assert (done.returncode, done.stderr) == (0, "")
        assert "gr??er ?" in done.stdout
        assert "##........" in done.stdout


def test_without_arguments_it_shows_the_help(run):
    done = run()
    assert "rollback" in done.output
    assert done.exit_code in (0, 2)  # typer changed its mind


def test_the_version_is_shown_without_a_gateway(run, gateway):
    assert run("--version").output.startswith("coalmine ")
    assert gateway.asked == []


class TestRollback:
    def test_says_where_the_service_is_now(self, run, gateway):
        done = run("rollback", "chat", "--reason", "slow")
        assert done.stdout == (
            "chat is rolling_back, all new conversations on v1 (epoch 18)\n"
        )
        assert gateway.asked[-1] == (
            "POST", "/coalmine/api/services/chat/rollback", {"reason": "slow"}
        )

    def test_that_has_nothing_to_do_says_so_and_is_done(self, run, gateway):
        gateway.services["chat"]["phase"] = "rolled_back"
        done = run("rollback", "chat", "--reason", "slow")
        assert (done.exit_code, done.stdout) == (0, "already on v1, nothing changed\n")

    def test_names_the_release_when_asked(self, run, gateway):
        run("rollback", "chat", "--reason", "slow", "--to", "v0")
        assert gateway.asked[-1][2] == {"reason": "slow", "to": "v0"}

    def test_wants_a_reason_with_words_in_it(self, run, gateway):
        assert run("rollback", "chat", "--reason", "  ").exit_code == 2
        assert gateway.asked == []


def test_start_asks_for_the_release(run, gateway):
    gateway.services["chat"]["phase"] = "idle"
    done = run("start", "chat", "v3", "--reason", "nightly")
    assert done.stdout == "chat is canary, step 1 of 4, 1 % of new conversations to v3 (epoch 18)\n"
    assert gateway.asked[-1][2] == {"release": "v3", "reason": "nightly"}


@pytest.mark.parametrize(("flags", "body"), [([], {}), (["--full"], {"full": True})])
def test_promote_goes_one_step_or_to_the_last_one(run, gateway, flags, body):
    done = run("promote", "chat", *flags)
    assert f"step {4 if flags else 3} of 4" in done.stdout
    assert gateway.asked[-1][2] == body


def test_a_change_that_changed_nothing_says_so(run, gateway, acts, chat):
    gateway.next(acts.says(200, {**chat, "phase": "paused", "changed": False}))
    done = run("pause", "chat")
    assert done.exit_code == 0
    assert done.stdout.startswith("nothing changed: chat is paused")


def test_what_else_is_worth_knowing_is_printed(run, gateway, acts, chat):
    gateway.next(acts.says(200, {**chat, "changed": True, "note": "applied by this worker"}))
    assert run("pause", "chat").stdout.endswith("(epoch 17)\nnote: applied by this worker\n")


class TestHistory:
    def test_is_a_table_with_the_newest_last(self, run):
        lines = run("history", "chat").stdout.splitlines()
        told = [line.split(maxsplit=3) for line in lines if "ada" in line]
        assert [(line[2], line[3].rstrip()) for line in told] == [
            ("start", "ada: idle → canary 1 %"),
            ("promote", "ada: canary 1 % → canary 5 %"),
        ]
        assert [line.strip() for line in lines if "looks good" in line] == ["looks good"]

    def test_fits_80_columns_with_the_longest_that_is_usual(self, run, gateway, acts):
        at = {"at": "2026-03-01T10:05:00Z", "before": {"phase": "canary", "weight": 12.5},
              "after": {"phase": "rolling_back", "weight": 0}}
        gateway.next(acts.says(200, {"entries": [{
            **at, "who": "guardrail hard-errors", "action": "rollback",
            "reason": "hard-errors: error_rate 12.3 % over 3m (limit ≤ 5 %)"}]}))
        lines = run("history", "chat").stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert len(lines) <= 6  # two of them above, and two for what and why each
        assert "guardrail hard-errors: canary 12.5 % →" in lines[2]

    def test_has_nothing_before_the_first_change(self, run, gateway, acts):
        gateway.next(acts.says(200, {"entries": [{
            "at": "2026-03-01T09:00:00Z", "who": "coalmine", "action": "born", "before": {},
            "after": {"stable": "v1"}, "reason": "first seen in the policy"}]}))
        said = run("history", "chat").stdout
        assert "coalmine: on v1" in said
        assert "{}" not in said

    def test_as_json_is_the_apis(self, run, client_history):
        assert json.loads(run("history", "chat", "--json").stdout) == client_history

    def test_with_a_limit_keeps_the_newest(self, run):
        found = json.loads(run("history", "chat", "--json", "--limit", "1").stdout)
        assert [entry["action"] for entry in found["entries"]] == ["promote"]

    def test_without_entries_says_so(self, run, gateway, acts):
        gateway.next(acts.says(200, {"entries": []}))
        assert run("history", "chat").stdout == "no changes yet\n"

    @pytest.fixture
    def client_history(self, gateway, key):
        import requests

        return requests.get(
            f"{gateway.url}/coalmine/api/services/chat/history",
            headers={"authorization": f"Bearer {key}"}, timeout=5,
        ).json()


class TestFaults:
    @pytest.mark.parametrize(
        ("status", "body", "kind", "code", "words"),
        [
            (401, {"error": {"code": "u", "message": "no key", "hint": ""}}, "json", 1, "no key"),
            (403, {"error": {"code": "f", "message": "may not", "hint": ""}}, "json", 1, "may not"),
            (404, {"error": {"code": "n", "message": "none", "hint": ""}}, "json", 1, "none"),
            (409, {"error": {"code": "e", "message": "epoch", "hint": "h"}}, "json", 1,
             "epoch (h)"),
            (500, "<pre>Traceback\nsecret</pre>", "html", 1, "broke (HTTP 500)"),
            (404, {"detail": "Not Found"}, "json", 1, "is Coalmine loaded"),
            (200, "<h1>LiteLLM</h1>", "html", 1, "not as Coalmine does"),
            (302, "", "html", 1, "redirects to elsewhere"),
        ],
    )
    @pytest.mark.parametrize("command", [("status",), ("rollback", "chat", "--reason", "slow")])
    def test_of_the_answer_end_as_one_line_without_the_key(
        self, run, gateway, acts, key, status, body, kind, code, words, command
    ):
        gateway.next(acts.says(status, body, kind))
        done = run(*command)
        assert done.exit_code == code
        assert done.stderr.startswith("coalmine: ")
        assert done.stderr.count("\n") == 1
        assert words in done.stderr
        assert key not in done.output
        assert "secret" not in done.output

    def test_a_gateway_that_hangs_is_unreachable(self, run, gateway, acts, monkeypatch):
        monkeypatch.setattr("coalmine.cli.settings.READ_TIMEOUT", 0.2)
        monkeypatch.setattr("coalmine.cli.settings.Settings.client.__kwdefaults__",
                            {"patience": 0.2}, raising=False)
        gateway.next(acts.hangs)
        done = run("pause", "chat")
        assert done.exit_code == 3
        assert "whether it was done is not known" in done.stderr

    def test_an_unusable_address_is_a_usage_error(self, run):
        done = run("status", COALMINE_URL="gw:4000")
        assert done.exit_code == 2
        assert done.stderr.startswith("coalmine: 'gw:4000' is not the address of a proxy")

    @pytest.mark.parametrize(
        ("path", "said", "root"),
        [("/v1", "v1", ""), ("/v1/chat/completions", "v1/chat/completions", ""),
         ("/coalmine/", "coalmine", ""), ("/llm/v1/", "v1", "/llm"), ("/ui", "ui", "")],
    )
    def test_an_address_that_clients_use_is_a_usage_error_with_the_right_one(
        self, run, gateway, path, said, root
    ):
        done = run("status", COALMINE_URL=gateway.url + path)
        assert done.exit_code == 2
        assert done.stderr.startswith(
            f"coalmine: the address must be the proxy's own, without /{said}")
        assert f"write {gateway.url}{root})" in done.stderr
        assert gateway.asked == []

    def test_an_address_with_another_path_says_so_when_coalmine_is_not_there(self, run, gateway):
        done = run("status", COALMINE_URL=f"{gateway.url}/llm")
        assert done.exit_code == 1
        assert "leave /llm out unless the proxy runs under it" in done.stderr


class TestTheKey:
    def test_is_read_from_a_file(self, run, gateway, key, tmp_path):
        (tmp_path / "key").write_text(f"{key}\n")
        assert run("--key-file", str(tmp_path / "key"), "status", COALMINE_KEY=None).exit_code == 0
        assert gateway.headers[-1]["authorization"] == f"Bearer {key}"

    def test_of_a_file_goes_before_the_variable(self, run, key, tmp_path):
        (tmp_path / "key").write_text(key)
        done = run("--key-file", str(tmp_path / "key"), "status", COALMINE_KEY="sk-old")
        assert done.exit_code == 0

    def test_file_that_is_not_there_is_a_usage_error(self, run, tmp_path):
        done = run("--key-file", str(tmp_path / "none"), "status")
        assert done.exit_code == 2
        assert "cannot be read: No such file" in done.stderr

    def test_that_is_unknown_is_refused_and_not_shown(self, run):
        done = run("status", COALMINE_KEY="sk-unknown-1")
        assert done.exit_code == 1
        assert "sk-unknown-1" not in done.output

    def test_that_may_only_read_cannot_roll_back(self, run, gateway):
        gateway.keys["sk-reader"] = {"read"}
        done = run("rollback", "chat", "--reason", "slow", COALMINE_KEY="sk-reader")
        assert done.exit_code == 1
        assert done.stderr == "coalmine: this key may not rollback (ask an admin)\n"

    @pytest.mark.parametrize("given", [None, "", " "])
    @pytest.mark.parametrize("command", [
        ("status",), ("status", "--watch"), ("history", "chat"), ("pause", "chat"),
        ("rollback", "chat", "--reason", "slow"),
    ])
    def test_that_is_missing_is_a_usage_error_and_nothing_is_sent(
        self, run, gateway, command, given
    ):
        done = run(*command, COALMINE_KEY=given)
        assert (done.exit_code, gateway.asked) == (2, [])
        assert done.stderr == ("coalmine: no key was given (set COALMINE_KEY, "
                               "or name a file with --key-file)\n")

    def test_file_that_holds_none_is_a_usage_error(self, run, gateway, tmp_path):
        (tmp_path / "key").write_text("\n")
        done = run("--key-file", str(tmp_path / "key"), "status")
        assert (done.exit_code, gateway.asked) == (2, [])
        assert "holds no key" in done.stderr

    def test_is_not_asked_for_by_what_asks_no_proxy(self, run, gateway, tmp_path):
        (tmp_path / "coalmine.yaml").write_text("services: {}\n")
        assert run("lint", str(tmp_path / "coalmine.yaml"), COALMINE_KEY=None).exit_code == 0

    def test_is_not_in_the_help_although_the_variable_is_set(self, run, key):
        assert key not in run("--help").output

    def test_is_not_in_a_crash(self, run, gateway, monkeypatch, key):
        def crash(*_):
            raise RuntimeError("a bug")

        monkeypatch.setattr("coalmine.cli.client.Client.services", crash)
        done = run("status")
        assert isinstance(done.exception, RuntimeError)
        assert key not in done.output


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("status chat --url http://a", "--url http://a status chat"),
        ("status --url=http://a chat", "--url=http://a status chat"),
        ("promote chat --full --key-file k --ca c", "--key-file k --ca c promote chat --full"),
        ("lint -- --url", "lint -- --url"),
        ("status --url", "--url status"),
    ],
)
def test_global_options_may_stand_behind_the_command(given, read):
    assert hoisted(given.split()) == read.split()


def test_an_option_behind_the_command_reaches_the_gateway(run, gateway):
    done = run("status", "chat", "--json", "--url", gateway.url, COALMINE_URL="http://gw.invalid")
    assert done.exit_code == 0


class TestDemo:
    def test_runs_what_it_is_told_and_ends_as_it_ends(self, run, monkeypatch):
        import sys
        import types

        seen = []
        fake = types.ModuleType("coalmine.cli.demo")
        fake.run = lambda engines, quick: seen.append((engines, quick)) or 1
        monkeypatch.setitem(sys.modules, "coalmine.cli.demo", fake)
        assert run("demo", "--engines", "vllm", "--quick").exit_code == 1
        assert seen == [("vllm", True)]

    def test_without_its_extra_says_what_to_install(self, run, monkeypatch):
        import builtins

        real = builtins.__import__

        def missing(name, *args):
            if name == "coalmine.cli.demo":
                raise ModuleNotFoundError("No module named 'litellm'", name="litellm")
            return real(name, *args)

        monkeypatch.setattr(builtins, "__import__", missing)
        done = run("demo")
        assert done.exit_code == 1
        assert done.stderr == (
            "coalmine: the demo needs litellm, which is not installed "
            "(pip install 'coalmine[gateway,sim]')\n"
        )
