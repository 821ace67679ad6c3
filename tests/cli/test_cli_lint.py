"""`coalmine lint`: the policy's errors at once, and whether LiteLLM's config fits to it."""

from __future__ import annotations

import pytest

from coalmine.cli.litellm_config import check
from coalmine.rollout.policy import Policy

POLICY = Policy.model_validate(
    {"services": {"chat": {"stable": "v1", "releases": {
        "v1": {"slot": "blue"}, "v2": {"slot": "green"}}}}}
)


def deployment(group: str, slot: str | None, service: str = "chat", **info: str) -> dict:
    about = {"service": service, "slot": slot, "id": f"{group}-{slot}", **info} if slot else {}
    return {"model_name": group, "litellm_params": {"model": "openai/x"}, "model_info": about}


def config(*deployments: dict, callbacks: object = ("coalmine.plugin",)) -> dict:
    found = list(callbacks) if isinstance(callbacks, tuple) else callbacks
    return {"model_list": list(deployments), "litellm_settings": {"callbacks": found}}


BLUE, GREEN = deployment("chat", "blue"), deployment("chat.green", "green")


class TestLiteLLMsConfig:
    def test_that_fits_gets_no_warning(self):
        assert check(POLICY, config(BLUE, GREEN, deployment("other", None))) == []

    def test_may_name_the_plugin_as_a_single_callback(self):
        assert check(POLICY, config(BLUE, GREEN, callbacks="coalmine.plugin")) == []

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (config(BLUE, GREEN, callbacks=("prometheus",)), "callbacks lacks coalmine.plugin"),
            (config(BLUE, GREEN, callbacks=None), "callbacks lacks coalmine.plugin"),
            (config(BLUE), "release v2 of chat: no deployment says model_info: {service: chat, "),
            (config(BLUE, deployment("chat", "green")), "group 'chat' holds both slots of chat"),
            (config(BLUE, {**GREEN, "model_info": {"service": "chat", "slot": "green"}}),
             "model_list[1]: no model_info.id"),
            (config(BLUE, GREEN, deployment("embed", "blue", "embed")),
             "model_list[2]: service 'embed' is not in the policy (known: chat)"),
            (config(BLUE, GREEN, deployment("chat.red", "red")), "slot 'red' is neither blue nor"),
            (config(deployment("chat.blue", "blue"), GREEN), "no deployment is in the group"),
        ],
    )
    def test_that_does_not_fit_is_warned_of_once(self, given, words):
        assert [words in warning for warning in check(POLICY, given)] == [True]

    @pytest.mark.parametrize(
        "broken", [{}, {"model_list": None}, {"model_list": ["x", None, {"model_info": 3}]},
                   {"model_list": {}, "litellm_settings": []}],
    )
    def test_that_is_malformed_warns_and_does_not_crash(self, broken):
        assert len(check(POLICY, broken)) == 3


GOOD = """\
services:
  chat:
    stable: v1
    releases:
      v1: {slot: blue}
      v2: {slot: green}
"""


class TestTheCommand:
    @pytest.fixture
    def written(self, tmp_path):
        def write(text: str, name: str = "coalmine.yaml") -> str:
            (tmp_path / name).write_text(text)
            return str(tmp_path / name)

        return write

    def test_says_that_a_good_file_is_fine_without_asking_a_gateway(self, run, written, gateway):
        done = run("lint", written(GOOD))
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.endswith("coalmine.yaml: fine (chat), 0 warnings\n")
        assert gateway.asked == []

    def test_names_every_error_with_its_line_and_ends_with_1(self, run, written):
        path = written(GOOD.replace("slot: green", "slot: gren").replace("stable", "stabel"))
        done = run("lint", path)
        assert done.exit_code == 1
        lines = done.stdout.splitlines()
        assert len(lines) >= 2
        assert all(line.startswith(f"{path}:") for line in lines)
        assert any(line.startswith(f"{path}:3:") and "stabel" in line for line in lines)
        assert any(line.startswith(f"{path}:6:") and "gren" in line for line in lines)
        assert done.stderr == f"coalmine: {path}: {len(lines)} errors\n"

    def test_warns_of_what_is_doubtful_with_its_line_and_is_done(self, run, written):
        path = written(GOOD.replace("      v2: {slot: green}\n", ""))
        done = run("lint", path)
        assert done.exit_code == 0
        assert done.stdout.startswith(f"warning: {path}:4: services.chat.releases: ")
        assert done.stdout.endswith("no errors (chat), 1 warning\n")

    def test_lets_warnings_fail_when_it_is_strict(self, run, written):
        path = written(GOOD.replace("      v2: {slot: green}\n", ""))
        done = run("lint", path, "--strict")
        assert done.exit_code == 1
        assert done.stdout.startswith(f"warning: {path}:4: ")
        assert done.stderr == (
            f"coalmine: {path}: no errors, but 1 warning (--strict lets none pass)\n")
        fine = run("lint", written(GOOD), "--strict")
        assert (fine.exit_code, fine.stderr) == (0, "")

    def test_warns_of_a_litellm_config_that_does_not_fit_and_is_done(self, run, written):
        other = written("model_list: []\n", "config.yaml")
        done = run("lint", written(GOOD), "--litellm", other)
        assert done.exit_code == 0
        assert f"warning: {other}: litellm_settings.callbacks lacks coalmine.plugin" in done.stdout

    @pytest.mark.parametrize(
        ("text", "words"), [("a: [", "not YAML"), ("- 1\n", "must be a mapping")]
    )
    def test_explains_a_litellm_config_that_is_none(self, run, written, text, words):
        done = run("lint", written(GOOD), "--litellm", written(text, "config.yaml"))
        assert done.exit_code == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1

    def test_explains_a_file_that_cannot_be_read(self, run, tmp_path):
        done = run("lint", str(tmp_path / "none.yaml"))
        assert done.exit_code == 1
        assert done.stderr.endswith("none.yaml: No such file or directory\n")
