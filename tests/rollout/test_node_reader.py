"""Nodes into models: all that is wrong at once, with line, field and what to do."""

import time

import pytest

from coalmine.rollout import Operator, Policy, PolicyError, Problem, ServicePolicy, read_policy
from coalmine.rollout.node_reader import SECRETS

from .texts import SMALL, service


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PolicyError) as refused:
        read_policy(text, "coalmine.yaml")
    return refused.value.problems


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
                "(known are headers, ttl, on_rollback, grace, closes_after)"
            )
        ],
    ),
    "a key of the file in a service": (
        service("record: {folder: events}"),
        [
            (
                "7: services.chat.record: is not known "
                "(it stands in the file itself, beside services)"
            )
        ],
    ),
    "a key of the rollout beside it": (
        service("bake: 24h"),
        ["7: services.chat.bake: is not known (it stands in services.NAME.rollout)"],
    ),
    "a key of steps and guardrails in neither": (
        service("rollout: {for: 10m}"),
        [
            (
                "7: services.chat.rollout.for: is not known (it stands in "
                "services.NAME.guardrails[] or services.NAME.rollout.steps[])"
            )
        ],
    ),
    "a field's name in the code is no key": (
        service(STEPS + "    - {weight: 1, soak: 10m}"),
        [
            (
                "9: services.chat.rollout.steps[0].soak: is not known "
                "(known are weight, for, min_conversations, approve, require)"
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
    "a recording that cannot be": (
        SMALL + 'record: {folder: "", keep: 0, max_bytes: 5, days: 7}\n',
        [
            "7: record.folder: has 0 characters, too few (give at least 1 characters)",
            "7: record.keep: 0 is not more than 0 (give more than 0)",
            "7: record.max_bytes: 5 is less than 1000000 (give 1000000 or more)",
            "7: record.days: is not known (known are folder, keep, max_bytes)",
        ],
    ),
    "a recording of some other form": (
        SMALL + "record: events\n",
        ["7: record: must be a mapping (key: value), found text"],
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
    "weights that fall, of steps with other errors": (
        service(
            STEPS
            + "    - {weight: 25, fr: 10m}\n    - {weight: 300}\n    - {weight: 5, for: x}"
        ),
        [
            "9: services.chat.rollout.steps[0].fr: is not known (did you mean for?)",
            "10: services.chat.rollout.steps[1].weight: 300 is more than 100 (give 0.1 to 100)",
            (
                "11: services.chat.rollout.steps[2].for: 'x' is not a duration; write for example "
                "30s, 10m or 24h"
            ),
            "11: services.chat.rollout.steps[2].weight: weights must not fall: 5 comes after 25",
        ],
    ),
    "two releases in one slot, one of which has another error": (
        SMALL.replace("{slot: green}", "{slot: blue, digest: abc}"),
        [
            (
                '5: services.chat.releases.v2.digest: "abc" does not have the form '
                "^[a-z0-9]+:[0-9a-f]{8,128}$"
            ),
            "5: services.chat.releases.v2.slot: v1 and v2 are both in slot blue",
        ],
    ),
    "two guardrails of one name, one of which has no limit": (
        service(
            "guardrails:\n  - {name: a, metric: error_rate}\n"
            "  - {name: a, metric: error_rate, max: 0.2}"
        ),
        [
            (
                "8: services.chat.guardrails[0]: give exactly one limit of max, min, max_ratio, "
                "min_ratio, max_increase, max_slo_ratio, max_burn_rate, or rule: evidence; found "
                "none"
            ),
            "9: services.chat.guardrails[1].name: the name 'a' is used twice",
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
    "a time for a number": (
        service("guardrails: [{name: a, metric: ttft_p99, max: 800ms}]"),
        [(
            '7: services.chat.guardrails[0].max: must be a number, found "800ms" (in seconds: 0.8)'
        )],
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
                "min_ratio, max_increase, max_slo_ratio, max_burn_rate, or rule: evidence; found "
                "none"
            )
        ],
    ),
    "two limits, one of which cannot be read": (
        service("guardrails:\n  - {name: a, metric: error_rate, max: high, max_ratio: 2}"),
        [
            '8: services.chat.guardrails[0].max: must be a number, found "high"',
            (
                "8: services.chat.guardrails[0]: give exactly one limit of max, min, max_ratio, "
                "min_ratio, max_increase, max_slo_ratio, max_burn_rate, or rule: evidence; found "
                "max and max_ratio"
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
        [
            (
                "8: services.chat.guardrails[0].slo: slo with max_slo_ratio is for percentiles of "
                "latencies, error_rate is none"
            )
        ],
    ),
    "an objective that is no share": (
        service("guardrails:\n  - {name: a, metric: error_rate, slo: 99.9, max_burn_rate: 14}"),
        [
            (
                "8: services.chat.guardrails[0].slo: 99.9 is not between 0 and 1: write the part "
                "that must go well, such as 0.999"
            )
        ],
    ),
    "a margin that no score can have": (
        service("guardrails:\n  - {name: a, metric: score, rule: evidence, margin: 2}"),
        [
            (
                "8: services.chat.guardrails[0].margin: a score is between 0 and 1: no candidate "
                "can be worse by 2"
            )
        ],
    ),
    "guardrails whose alpha add up to more than there is": (
        service(
            "alpha: 0.01\nguardrails:\n  - {name: a, metric: score, rule: evidence, alpha: 0.008}"
            "\n  - {name: b, metric: ttft, rule: evidence, alpha: 0.008}"
        ),
        [
            (
                "10: services.chat.guardrails[1].alpha: the guardrails' alpha add up to 0.016, "
                "more than the service's 0.01: lower one of them, or raise alpha of the service"
            )
        ],
    ),
    "a guardrail for which no alpha is left": (
        service(
            "alpha: 0.01\nguardrails:\n  - {name: a, metric: score, rule: evidence, alpha: 0.01}"
            "\n  - {name: b, metric: ttft, rule: evidence}"
        ),
        [
            (
                "10: services.chat.guardrails[1].alpha: nothing of the service's alpha (0.01) is "
                "left for it: the others take 0.01"
            )
        ],
    ),
    "a step that requires evidence of which none is gathered": (
        service(
            "rollout:\n  steps:\n    - {weight: 1}\n    - {weight: 5, require: evidence}\n"
            "guardrails:\n  - {name: a, metric: error_rate, max: 0.1}"
        ),
        [
            (
                "10: services.chat.rollout.steps[1].require: no guardrail that acts has rule: "
                "evidence, so nothing can be proven"
            )
        ],
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
    printed = [str(problem) for problem in problems(text)]
    assert printed == [f"coalmine.yaml:{line}" for line in said]


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
