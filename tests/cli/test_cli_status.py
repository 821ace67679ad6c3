"""`coalmine status` where there is more, or less, to see than services."""

from __future__ import annotations

import pytest

WRONG = {
    "status": "error", "file": "coalmine.yaml", "in_force": False, "count": 3,
    "since": "2026-03-01T10:00:00Z", "message": "the policy coalmine.yaml has 3 errors",
    "errors": ["coalmine.yaml:3: services.chat.stabel: unknown key"], "hint": "coalmine lint it",
}


class TestABrokenPolicy:
    def test_at_boot_is_a_failure_of_status_and_not_an_observing_gateway(self, run, gateway):
        gateway.services.clear()
        gateway.policy = {"policy": WRONG}
        done = run("status")
        assert done.exit_code == 1
        assert done.stderr == (
            "coalmine: the policy coalmine.yaml has 3 errors (coalmine lint it)\n")
        assert "services.chat.stabel: unknown key" in done.stdout
        assert "and 2 more" in done.stdout
        assert "observe" not in done.stdout

    def test_is_wrapped_below_its_own_words_with_the_line_in_front(self):
        from rich.console import Console

        from coalmine.cli.policy_notice import notice

        long = "/etc/coalmine/coalmine.yaml"
        policy = {**WRONG, "file": long, "message": f"the policy {long} has 4 errors", "count": 5,
                  "hint": f"mend it: `coalmine lint {long}` names every error", "errors": [
                      f"{long}:3: services.chat.stabel: is not known (did you mean stable?)",
                      f"{long}:12: services.chat.rollout.steps[1].weight: weights must not fall",
                      f"{long}: cannot be read: [Errno 13] Permission denied",
                      "elsewhere: 5: [bold]x"]}
        console = Console(width=44, color_system=None)
        with console.capture() as seen:
            console.print(notice(policy, 1_772_359_200.0))
        lines = [line.rstrip() for line in seen.get().splitlines()]
        assert lines == [
            "since 2026-03-01 10:00:00 UTC (0s): the",
            "policy /etc/coalmine/coalmine.yaml has 4",
            "errors",
            "  line 3:  services.chat.stabel: is not",
            "           known (did you mean stable?)",
            "  line 12: services.chat.rollout.steps[1].we",
            "           ight: weights must not fall",
            "  -        cannot be read: [Errno 13]",
            "           Permission denied",
            "  -        elsewhere: 5: [bold]x",
            "  and 1 more",
            "  mend it: `coalmine lint",
            "  /etc/coalmine/coalmine.yaml` names every",
            "  error",
        ]

    @pytest.mark.parametrize("args", [("status", "chat"), ("status", "chat", "--json")])
    def test_at_boot_fails_also_where_a_snapshot_knows_the_service(self, run, gateway, args):
        gateway.policy = {"policy": WRONG}
        done = run(*args)
        assert done.exit_code == 1
        assert "canary" in done.stdout

    def test_later_is_a_banner_above_what_goes_on(self, run, gateway):
        said = "the policy coalmine.yaml has 3 errors; the last good one is in force"
        gateway.policy = {"policy": {**WRONG, "in_force": True, "message": said}}
        for args in (("status",), ("status", "chat")):
            done = run(*args)
            assert (done.exit_code, done.stderr) == (0, "")
            assert done.stdout.startswith("since 2026-03-01 10:00:00 UTC (")
            assert said in " ".join(done.stdout.split())
            assert "canary" in done.stdout

    def test_is_a_line_for_who_watches_through_a_pipe(self, chat):
        from coalmine.cli.words import sentences

        assert sentences({"services": [chat], "policy": WRONG})[0] == (
            "the policy coalmine.yaml has 3 errors (coalmine lint it)")


class TestObserving:
    def test_shows_each_deployments_figures(self, run, gateway):
        gateway.services.clear()
        gateway.deployments = [
            {"service": "chat", "deployment": "gpu1-blue", "release": "", "arm": "",
             "attempts": 1200, "failures": 3, "ttft": 0.2, "request": 4.1},
            {"service": "chat", "deployment": "gpu1-green", "release": "", "arm": "",
             "attempts": 0, "failures": 0, "ttft": None, "request": None},
        ]
        done = run("status")
        assert done.exit_code == 0
        assert "Coalmine observes and routes nothing" in done.stdout
        rows = [line.split() for line in done.stdout.splitlines() if "gpu1" in line]
        assert rows == [
            ["chat", "gpu1-blue", "1", "200", "3", "(0.25", "%)", "200", "4100"],
            ["chat", "gpu1-green", "0", "0", "–", "–"],
        ]

    def test_goes_on_until_the_restart_when_a_policy_came_later(self, run, gateway):
        gateway.services.clear()
        gateway.policy = {"policy": {
            **WRONG, "status": "restart_needed", "count": 0, "errors": [],
            "message": "the policy coalmine.yaml came after the start and is not in force",
            "hint": "restart the proxy"}}
        gateway.deployments = [{"service": "chat", "deployment": "gpu1-blue", "attempts": 7}]
        done = run("status")
        assert (done.exit_code, done.stderr) == (0, "")
        assert "came after the start" in " ".join(done.stdout.split())
        assert "restart the proxy" in done.stdout
        assert "until the restart Coalmine observes" in done.stdout
        assert "gpu1-blue" in done.stdout

    def test_by_an_older_gateway_is_said_without_figures(self, run, gateway):
        gateway.services.clear()
        done = run("status")
        assert (done.exit_code, done.stderr) == (0, "")
        assert "observes" in done.stdout
