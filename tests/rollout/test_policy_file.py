"""Reading a policy file: all that is wrong at once, with line, field and what to do."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalmine.guardrails.guardrail import DEFAULT_GUARDRAILS, Guardrail
from coalmine.rollout import (
    Operator,
    Policy,
    PolicyError,
    Problem,
    RolloutPlan,
    ServicePolicy,
    read_policy,
    warnings,
)
from coalmine.rollout.policy_file import MAX_DEPTH, MAX_NODES, MAX_TEXT, SECRETS
from coalmine.rollout.reference import EXAMPLE

SMALL = """\
services:
  chat:
    releases:
      v1: {slot: blue}
      v2: {slot: green}
    stable: v1
"""


def service(below: str) -> str:
    """Return a good policy with lines of a service from line 7 on."""
    return SMALL + "".join(f"    {line}\n" for line in below.splitlines())


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyError) as refused:
        read_policy(text, "coalmine.yaml")
    return refused.value.problems


def lines(text: str) -> list[str]:
    return [str(problem) for problem in problems(text)]


STEPS = "rollout:\n  steps:\n"

# what is wrong: the text, and the lines that are printed (without the file's name)
BAD = {
    "an unknown key at the top": (
        "sevices: {}\n",
        ["1: sevices: is not known (did you mean services?)"],
    ),
    "an unknown key of a service": (
        service("guardrial: []"),
        ["7: services.chat.guardrial: is not known (did you mean guardrails?)"],
    ),
    "an unknown key that is like none": (
        service("sessions: {zzz: 1}"),
        [
            (
                "7: services.chat.sessions.zzz: is not known "
                "(known are headers, ttl, on_rollback, grace)"
            )
        ],
    ),
    "a field's name in the code is no key": (
        service(STEPS + "    - {weight: 1, soak: 10m}"),
        [
            (
                "9: services.chat.rollout.steps[0].soak: is not known "
                "(known are weight, for, min_conversations, approve)"
            )
        ],
    ),
    "an unknown slot": (
        SMALL.replace("green", "gren"),
        [
            (
                '5: services.chat.releases.v2.slot: "gren" is not one of blue, green '
                "(did you mean green?)"
            )
        ],
    ),
    "an unknown metric": (
        service("guardrails:\n  - {name: a, metric: eror_rate, max: 0.1}"),
        [
            (
                '8: services.chat.guardrails[0].metric: "eror_rate" is not known '
                "(did you mean error_rate?)"
            )
        ],
    ),
    "an unknown action": (
        service("guardrails:\n  - {name: a, metric: error_rate, max: 0.1, action: rollbak}"),
        [
            (
                '8: services.chat.guardrails[0].action: "rollbak" is not one of pause, rollback '
                "(did you mean rollback?)"
            )
        ],
    ),
    "an unknown right of an operator": (
        'operators: [{name: a, token_sha256: "' + "0" * 64 + '", may: [rolback]}]\n',
        [
            (
                '1: operators[0].may[0]: "rolback" is not one of read, start, pause, resume, '
                "promote, rollback, register (did you mean rollback?)"
            )
        ],
    ),
    "a weight of more than all": (
        service(STEPS + "    - {weight: 5}\n    - {weight: 150}"),
        ["10: services.chat.rollout.steps[1].weight: 150 is more than 100 (give 0.1 to 100)"],
    ),
    "a weight of nothing": (
        service(STEPS + "    - {weight: 0}"),
        ["9: services.chat.rollout.steps[0].weight: 0 is less than 0.1 (give 0.1 to 100)"],
    ),
    "a weight too fine to be drawn": (
        service(STEPS + "    - {weight: 0.00001}"),
        ["9: services.chat.rollout.steps[0].weight: 1e-05 is less than 0.1 (give 0.1 to 100)"],
    ),
    "weights that fall, each of them": (
        service(STEPS + "    - {weight: 25}\n    - {weight: 5}\n    - {weight: 10}"),
        [
            "10: services.chat.rollout.steps[1].weight: weights must not fall: 5 comes after 25",
            "11: services.chat.rollout.steps[2].weight: weights must not fall: 10 comes after 25",
        ],
    ),
    "a weight that is missing": (
        service(STEPS + "    - {for: 10m}"),
        [
            (
                "9: services.chat.rollout.steps[0].weight: is missing "
                "(give it: Percent of new conversations; 0.1 is finest.)"
            )
        ],
    ),
    "no steps": (
        service("rollout: {steps: []}"),
        ["7: services.chat.rollout.steps: has 0, too few (give at least 1)"],
    ),
    "too many steps": (
        service("rollout: {steps: [" + "{weight: 1}, " * 41 + "]}"),
        ["7: services.chat.rollout.steps: has 41, too many (give at most 40)"],
    ),
    "a holdback of all": (
        service("rollout: {holdback: 100}"),
        ["7: services.chat.rollout.holdback: 100 is more than 99.9 (give 0 to 99.9)"],
    ),
    "text for a number": (
        service("rollout: {holdback: lots}"),
        ['7: services.chat.rollout.holdback: must be a number, found "lots"'],
    ),
    "a number in quotes": (
        service('rollout: {holdback: "2"}'),
        ['7: services.chat.rollout.holdback: must be a number, found "2" (leave the quotes out)'],
    ),
    "true for a number": (
        service(STEPS + "    - {weight: true}"),
        ["9: services.chat.rollout.steps[0].weight: must be a number, found true"],
    ),
    "half a conversation": (
        service(STEPS + "    - {weight: 1, min_conversations: 1.5}"),
        ["9: services.chat.rollout.steps[0].min_conversations: must be a whole number, found 1.5"],
    ),
    "text for a boolean": (
        service("rescue: perhaps"),
        ['7: services.chat.rescue: must be true or false, found "perhaps"'],
    ),
    "text for a list": (
        service("sessions: {headers: x-chat}"),
        ["7: services.chat.sessions.headers: must be a list, found text"],
    ),
    "a list for a mapping": (
        service("sessions: [x-chat]"),
        ["7: services.chat.sessions: must be a mapping (key: value), found a list"],
    ),
    "a mapping for a value": (
        service("rescue: {a: b}"),
        ["7: services.chat.rescue: must be one value, found a mapping"],
    ),
    "a key without a value": (
        service("rescue:"),
        ["7: services.chat.rescue: has no value (give one, or leave the key out)"],
    ),
    "a service without anything": (
        "services:\n  chat:\n",
        ["2: services.chat: must be a mapping (key: value), found nothing"],
    ),
    "a service without what it needs": (
        "services:\n  chat: {}\n",
        [
            "2: services.chat.releases: is missing (give it: Releases by name.)",
            (
                "2: services.chat.stable: is missing (give it: The stable release the first time; "
                "then the state knows.)"
            ),
        ],
    ),
    "a stable release that is none": (
        SMALL.replace("stable: v1", "stable: v9"),
        ["6: services.chat.stable: 'v9' is none of the releases (v1, v2)"],
    ),
    "two releases in one slot": (
        SMALL.replace("green", "blue"),
        ["5: services.chat.releases.v2.slot: v1 and v2 are both in slot blue"],
    ),
    "a name that cannot be one": (
        SMALL.replace("v2", '"v 2"'),
        [
            (
                "5: services.chat.releases[\"v 2\"]: 'v 2' cannot be a name: letters, digits and "
                ". _ : / + - only, at most 128, beginning with a letter or a digit"
            )
        ],
    ),
    "a digest that is none": (
        SMALL.replace("{slot: green}", "{slot: green, digest: abc}"),
        [
            (
                '5: services.chat.releases.v2.digest: "abc" does not have the form '
                "^[a-z0-9]+:[0-9a-f]{8,128}$"
            )
        ],
    ),
    "a negative duration": (
        service("sessions: {grace: -5s}"),
        ["7: services.chat.sessions.grace: a duration cannot be negative: '-5s'"],
    ),
    "a negative number of seconds": (
        service("drain_timeout: -1"),
        ["7: services.chat.drain_timeout: a duration cannot be -1; it must be 0 or more seconds"],
    ),
    "a duration that must not be 0": (
        service("stale_after: 0s"),
        ['7: services.chat.stale_after: "0s" is not more than 0 (give more than 0)'],
    ),
    "a time that YAML would read as base 60": (
        service("give_up: 1:30"),
        ["7: services.chat.give_up: '1:30' is not a duration; write for example 30s, 10m or 24h"],
    ),
    "not a number": (
        service("rollout: {holdback: .nan}"),
        ["7: services.chat.rollout.holdback: .nan is not a number that can be used"],
    ),
    "an infinite number": (
        service("guardrails:\n  - {name: a, metric: error_rate, max_ratio: .inf}"),
        ["8: services.chat.guardrails[0].max_ratio: .inf is not a number that can be used"],
    ),
    "a number that overflows": (
        service("rollout: {bake: 1e999}"),
        ["7: services.chat.rollout.bake: 1e999 is not a number that can be used"],
    ),
    "no limit": (
        service("guardrails:\n  - {name: a, metric: error_rate}"),
        [
            (
                "8: services.chat.guardrails[0]: give exactly one limit of max, min, max_ratio, "
                "min_ratio, max_increase, max_slo_ratio; found none"
            )
        ],
    ),
    "two limits, one of which cannot be read": (
        service("guardrails:\n  - {name: a, metric: error_rate, max: high, max_ratio: 2}"),
        [
            '8: services.chat.guardrails[0].max: must be a number, found "high"',
            (
                "8: services.chat.guardrails[0]: give exactly one limit of max, min, max_ratio, "
                "min_ratio, max_increase, max_slo_ratio; found max and max_ratio"
            ),
        ],
    ),
    "a share of more than all": (
        service("guardrails:\n  - name: a\n    metric: error_rate\n    max: 5"),
        [
            (
                "10: services.chat.guardrails[0].max: 5 is more than 1, and error_rate is a share, "
                "0 to 1"
            )
        ],
    ),
    "an objective for what is no latency": (
        service("guardrails:\n  - {name: a, metric: error_rate, slo: 1s, max_slo_ratio: 2}"),
        ["8: services.chat.guardrails[0].slo: slo is for latencies, error_rate is none"],
    ),
    "two guardrails of one name": (
        service(
            "guardrails:\n  - {name: a, metric: error_rate, max: 0.1}\n"
            "  - {name: a, metric: error_rate, max: 0.2}"
        ),
        ["9: services.chat.guardrails[1].name: the name 'a' is used twice"],
    ),
    "a header that cannot be one": (
        service("sessions: {headers: [x-chat, 'x-id: ']}"),
        [
            (
                "7: services.chat.sessions.headers[1]: 'x-id: ' cannot be the name of a header; "
                "write it without spaces or ':'"
            )
        ],
    ),
    "a key twice": (
        service("rescue: true\nunit: key\nrescue: false"),
        ["9: services.chat.rescue: stands there twice, in lines 7 and 9 (keep one of them)"],
    ),
    "a service twice": (
        SMALL + SMALL.replace("services:\n", ""),
        ["7: services.chat: stands there twice, in lines 2 and 7 (keep one of them)"],
    ),
    "a key that is a list": (
        "? [a, b]\n: c\n",
        ["1: a key must be text"],
    ),
    "a python object": (
        service("rescue: !!python/object/apply:os.system [ls]"),
        ["7: services.chat.rescue: has a tag (!…), which a policy never needs (remove it)"],
    ),
    "a tag of one's own": (
        service("sessions: !mine {ttl: 1h}"),
        ["7: services.chat.sessions: has a tag (!…), which a policy never needs (remove it)"],
    ),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_a_bad_policy_is_refused_with_line_field_and_what_to_do(text: str, said: list[str]) -> None:
    assert lines(text) == [f"coalmine.yaml:{line}" for line in said]


NO_YAML = {
    "nothing": ("", 1, "the file is empty"),
    "only a comment": ("# nothing yet\n\n", 1, "the file is empty"),
    "only a document's start": ("---\n", 1, "must be a mapping (key: value), found nothing"),
    "a list": ("- a\n", 1, "must be a mapping (key: value), found a list"),
    "text": ("hello\n", 1, "must be a mapping (key: value), found text"),
    "a tab": ("services:\n\tchat: {}\n", 2, "a tab stands where YAML wants spaces"),
    "a second colon": ("services:\n  a: b: c\n", 2, "a second ':' in this line"),
    "a wrong indentation": ("a:\n    b: 1\n   c: 2\n", 3, "the indentation does not fit"),
    "an open quote": ("services:\n  a: 'x\n", 3, "a quote is not closed"),
    "an open bracket": ("services: {a: [1, 2\nb: 3\n", 2, "a bracket or a comma is missing"),
    "a key without a colon": ("services: {}\nstate\nx: 1\n", 3, "a key without ':'"),
    "an unknown alias": ("state: *nothing\n", 1, "an alias (*name) for which there is no anchor"),
    "two documents": ("state: a\n---\nstate: b\n", 2, "a second document begins here"),
    "a sign that YAML keeps for itself": ("state: @home\n", 1, "this is not YAML"),
    "a control character": ("a: 1\nb: \x00\n", 2, "a character that YAML does not allow"),
    "a deep nest": ("a: " + "[" * 5000, 1, f"nested more than {MAX_DEPTH} deep"),
    "a huge file": ("#" * (MAX_TEXT + 1), 1, f"more than {MAX_TEXT} characters"),
    "a million values": ("a: [" + "1," * (MAX_NODES + 10) + "]", 1, f"more than {MAX_NODES}"),
}


@pytest.mark.parametrize(("text", "line", "said"), NO_YAML.values(), ids=NO_YAML)
def test_what_is_no_yaml_mapping_is_refused_with_its_line(text: str, line: int, said: str) -> None:
    (problem,) = problems(text)
    assert (problem.line, problem.source) == (line, "coalmine.yaml")
    assert said in problem.message


def bomb(leaf: str) -> str:
    """Return a policy in which aliases of aliases make ten to the ninth values."""
    text = f"x: &a0 {leaf}\n"
    for level in range(1, 10):
        text += f"x{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    return text


BOMBS = {
    "in a list of texts": bomb("[h]") + service("sessions: {headers: *a9}"),
    "in merges": "\n".join(
        ["x: &a0 {k: v}"]
        + [f"x{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10)]
        + [service("sessions: {<<: *a9}")]
    ),
    "in a merge of itself": service("sessions: &me {<<: *me, ttl: 1h}"),
    "in a list of itself": service("guardrails: &me [*me, *me]"),
    "in a mapping of itself": "services: &me {chat: *me}\n",
    "as many guardrails": "x: &g {name: a, metric: error_rate, max: 0.1}\n"
    + service("guardrails: [" + "*g, " * 9000 + "]"),
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_of_aliases_is_refused_soon(text: str) -> None:
    began = time.perf_counter()
    assert problems(text)
    assert time.perf_counter() - began < 5


# --------------------------------------------------------------------------- what YAML hides


def chat(text: str) -> ServicePolicy:
    return read_policy(text, "coalmine.yaml").services["chat"]


def test_off_needs_no_quotes_although_yaml_takes_it_for_a_boolean() -> None:
    assert chat(service("response_headers: off")).response_headers == "off"


def test_names_that_yaml_takes_for_something_else_stay_what_was_written() -> None:
    policy = read_policy(
        "gateway: 12\n"
        "services:\n"
        "  on:\n"
        "    releases: {1.10: {slot: blue}, 2024-01-31: {slot: green}}\n"
        "    stable: 1.10\n",
        "coalmine.yaml",
    )
    assert policy.gateway == "12"
    assert set(policy.services["on"].releases) == {"1.10", "2024-01-31"}
    assert policy.services["on"].stable == "1.10"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", True), ("True", True), ("yes", True), ("on", True), ("false", False), ("no", False),
     ("off", False)],
)  # fmt: skip
def test_a_boolean_may_be_written_as_people_do(written: str, meant: bool) -> None:
    assert chat(service(f"rescue: {written}")).rescue is meant


def test_anchors_and_merges_work_and_one_may_override_what_was_merged() -> None:
    policy = read_policy(
        SMALL.replace("chat:", "chat: &chat")
        + "    rollout: &plan {bake: 1h, holdback: 5}\n"
        + "  code:\n    <<: *chat\n    rollout: {<<: *plan, bake: 2h}\n",
        "coalmine.yaml",
    )
    code = policy.services["code"]
    assert (code.stable, code.rollout.bake, code.rollout.holdback) == ("v1", 7200.0, 5)
    assert policy.services["chat"].rollout.bake == 3600.0


def test_a_file_may_begin_with_a_byte_order_mark_and_end_lines_as_windows_does() -> None:
    text = "\ufeff" + service("response_headers: off").replace("\n", "\r\n")
    assert chat(text).response_headers == "off"


# --------------------------------------------------------------------------- all at once


def test_all_that_is_wrong_is_told_at_once_by_line() -> None:
    text = """\
state: sqlite:///coalmine.db
operator: []
services:
  chat:
    releases:
      v1: {slot: blue}
      v2: {slot: blue}
    stable: v3
    rollout:
      steps:
        - {weight: 10, for: 10m}
        - weight: 150
          approve: perhaps
        - {weight: 5}
      bake: forever
    guardrails:
      - {name: a, metric: ttft, max: 1}
      - {name: b, metric: error_rate}
  code:
    releases: {}
"""
    assert [(p.line, p.path) for p in problems(text)] == [
        (2, "operator"),
        (7, "services.chat.releases.v2.slot"),
        (8, "services.chat.stable"),
        (12, "services.chat.rollout.steps[1].weight"),
        (13, "services.chat.rollout.steps[1].approve"),
        (14, "services.chat.rollout.steps[2].weight"),
        (15, "services.chat.rollout.bake"),
        (17, "services.chat.guardrails[0].metric"),
        (18, "services.chat.guardrails[1]"),
        (19, "services.code.stable"),
        (20, "services.code.releases"),
    ]


def test_an_error_prints_one_line_for_each_problem() -> None:
    with pytest.raises(PolicyError) as refused:
        read_policy("a: 1\nb: 2\n", "/etc/coalmine.yaml")
    assert str(refused.value).splitlines() == [str(p) for p in refused.value.problems]
    assert str(refused.value).startswith("/etc/coalmine.yaml:1: a: is not known")
    assert refused.value.code == "policy"


def test_a_problem_without_line_or_field_prints_what_it_has() -> None:
    assert str(Problem("", 0, "", "it is wrong")) == "it is wrong"
    assert str(Problem("f", 0, "a.b", "it is wrong", "mend it")) == "f: a.b: it is wrong (mend it)"


# --------------------------------------------------------------------------- secrets

SECRET = "hunter2-s3cret"
LEAKS = [
    f"state: {SECRET}\n",
    f"state: redis://:{SECRET}@host/0\n",
    f"state: redis://user:{SECRET}/with?odd#signs@host\n",
    f"state: redis://{SECRET}@host/0\n",
    f"state: rediss://host/0?password={SECRET}\n",
    f"state: postgres://:{SECRET}@host\n",
    f"state: [{SECRET}]\n",
    f"state: {{{SECRET}: 1}}\n".replace(f"{SECRET}: 1", f"a: {SECRET}"),
    f"state: redis://[{SECRET}\n",
    f"state: os.environ/{SECRET}\n",
    f"state: a\nstate: {SECRET}\n",
    f"metrics_token: {SECRET}\n",
    f"alertmanager_token: {SECRET}\n",
    f"alertmanager_token: '{SECRET}\n",
    f"metrics_token: *{SECRET}\n",
    f"metrics_token: !{SECRET} x\n",
    f"metrics_token: &{SECRET}\n",
    f"metrics_token: @{SECRET}\n",
    f"metrics_token: %{SECRET}\n",
    f"metrics_token: a: {SECRET}\n",
    f'metrics_token: "\\{SECRET}"\n',
    f"metrics_tokn: {SECRET}\n",
    f"operators: {SECRET}\n",
    f"operators: [{{name: a, token_sha256: {SECRET}}}]\n",
    f"operators: [{{name: a, token: {SECRET}}}]\n",
    f"operators: [{SECRET}]\n",
]


@pytest.mark.parametrize("text", LEAKS)
def test_a_secret_is_never_quoted(text: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read_policy(text, "coalmine.yaml")
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(refused.value.problems)
    assert refused.value.__context__ is None, "a traceback would show what it came from"


def test_every_field_that_sounds_secret_is_known_as_one() -> None:
    fields = {*Policy.model_fields, *Operator.model_fields, *ServicePolicy.model_fields}
    assert {name for name in fields if "token" in name or name == "state"} == SECRETS


@pytest.mark.parametrize(
    "state",
    ["sqlite:///coalmine.db", "sqlite:////var/lib/my coalmine/state.db", "redis://host:6379/0",
     "rediss://10.0.0.1", "redis://[::1]:6379/1", "os.environ/COALMINE_REDIS_URL"],
)  # fmt: skip
def test_an_address_without_a_secret_is_taken(state: str) -> None:
    assert read_policy(f"state: {state}\n", "f").state == state


# --------------------------------------------------------------------------- what is right


def test_the_examples_policy_is_what_the_contract_says() -> None:
    policy = read_policy(EXAMPLE, "coalmine.yaml")
    service = policy.services["chat"]
    assert policy.operators[0].may == ("read", "pause", "rollback")
    assert [step.weight for step in service.rollout.steps] == [1, 5, 25, 100]
    assert [step.soak for step in service.rollout.steps] == [600, 1800, 3600, 0]
    assert service.rollout.steps[2].approve
    assert (service.rollout.bake, service.rollout.holdback) == (86400, 2)
    assert [g.name for g in service.guardrails] == ["errors", "hard-errors", "ttft-p99", "ttft-p95"]
    assert service.guardrails[2].slo == pytest.approx(0.8)
    assert service.response_headers == "off"
    assert not warnings(policy)


def test_what_is_left_out_has_the_defaults_of_the_contract() -> None:
    service = chat(SMALL)
    assert (service.rescue, service.stale_after, service.drain_timeout, service.give_up) == (
        True, 3.0, 600.0, 3600.0,
    )  # fmt: skip
    assert (service.response_headers, service.unit) == ("all", "conversation")
    assert (service.sessions.grace, service.sessions.ttl, service.sessions.on_rollback) == (
        60.0, 86400.0, "move",
    )  # fmt: skip
    assert service.guardrails == DEFAULT_GUARDRAILS
    one = Guardrail.model_validate({"name": "a", "metric": "error_rate", "max": 0.1})
    assert (one.min_conversations, one.timebox, one.dry_run, one.alone) == (
        30,
        1200.0,
        False,
        False,
    )


def test_a_policy_read_from_a_file_is_the_one_that_pydantic_makes() -> None:
    read = read_policy(service("rollout: {bake: 1h}"), "f")
    made = Policy.model_validate(
        {
            "services": {
                "chat": {
                    "releases": {"v1": {"slot": "blue"}, "v2": {"slot": "green"}},
                    "stable": "v1",
                    "rollout": {"bake": 3600},
                }
            }
        }
    )
    assert read == made
    assert Policy.model_validate_json(read.model_dump_json()) == made


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text("{}[]&*!|>'\"%@`#-?:, \nab<", max_size=40))
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    for whole in (text, service(text), SMALL + "    rollout: " + text):
        try:
            assert isinstance(read_policy(whole, "f"), Policy)
        except PolicyError as refused:
            assert all(p.line >= 1 for p in refused.problems)  # noqa: PT017


# --------------------------------------------------------------------------- warnings

Doubts = Callable[[str], list[tuple[int, str]]]


def doubts(text: str) -> list[tuple[int, str]]:
    policy = read_policy(text, "f")
    assert [p.path for p in warnings(policy)] == [p.path for p in warnings(policy, text, "f")]
    assert all(p.line == 0 for p in warnings(policy))
    return [(p.line, p.path) for p in warnings(policy, text, "f")]


DOUBTFUL = {
    "no services": ("state: sqlite:///a.db\n", (1, "services")),
    "one release": (SMALL.replace("      v2: {slot: green}\n", ""), (3, "services.chat.releases")),
    "a last step below 100": (
        service("rollout:\n  steps:\n    - {weight: 1}\n    - {weight: 50}"),
        (10, "services.chat.rollout.steps[1].weight"),
    ),
    "no bake": (service("rollout:\n  bake: 0"), (8, "services.chat.rollout.bake")),
    "no guardrail": (service("guardrails: []"), (7, "services.chat.guardrails")),
    "none that rolls back": (
        service("guardrails:\n  - {name: a, metric: error_rate, max: 0.1, action: pause}"),
        (7, "services.chat.guardrails"),
    ),
    "one that rolls back, but is dry": (
        service("guardrails:\n  - {name: a, metric: error_rate, max: 0.1, dry_run: true}"),
        (7, "services.chat.guardrails"),
    ),
    "nothing to compare with": (
        service("rollout:\n  holdback: 0"),
        (8, "services.chat.rollout.holdback"),
    ),
    "may finish": (
        service("sessions: {on_rollback: finish}"),
        (7, "services.chat.sessions.on_rollback"),
    ),
    "no grace": (service("sessions: {grace: 0}"), (7, "services.chat.sessions.grace")),
}


@pytest.mark.parametrize(("text", "found"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_is_legal_but_doubtful_is_told_with_its_line(
    text: str, found: tuple[int, str]
) -> None:
    assert doubts(text) == [found]


def test_a_policy_of_defaults_is_not_doubtful() -> None:
    assert doubts(SMALL) == []
    assert RolloutPlan().steps[-1].weight == 100


def test_a_last_step_below_100_says_what_the_bake_gives() -> None:
    text = service("rollout: {steps: [{weight: 50}], holdback: 5}")
    (found,) = warnings(read_policy(text, "f"), text, "f")
    assert "the last step is 50, then the bake gives 95 at once" in found.message
