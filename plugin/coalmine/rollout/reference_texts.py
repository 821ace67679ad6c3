"""What the reference of the policy says in words of its own: examples and explanations."""

from __future__ import annotations

EXAMPLE = """\
state: sqlite:///coalmine.db            # one host; or redis://…, rediss://…, or os.environ/NAME
metrics_token: os.environ/COALMINE_METRICS_TOKEN
operators:                              # beside LiteLLM's proxy admins
  - name: oncall                        # printf %s "$TOKEN" | sha256sum
    token_sha256: "0000000000000000000000000000000000000000000000000000000000000000"
    may: [read, pause, rollback]
services:
  chat:                                 # the model group that clients call
    releases:
      v1: {slot: blue}
      v2: {slot: green}
    stable: v1                          # the first time; afterwards the state is the truth
    sessions:
      headers: [x-coalmine-session, x-openwebui-chat-id]
      ttl: 24h
      on_rollback: move
    rollout:
      steps:
        - {weight: 1, for: 10m, min_conversations: 100}
        - {weight: 5, for: 30m}
        - {weight: 25, for: 1h, approve: true}    # waits for `coalmine promote chat`
        - {weight: 100}                           # all new conversations
      bake: 24h                         # the old release stays warm
      holdback: 2                       # percent of the new ones that it keeps meanwhile
    guardrails:                         # with good defaults when left out
      - {name: errors, metric: error_rate, max_ratio: 2, for: 2m, action: rollback, alone: true}
      - {name: hard-errors, metric: error_rate, max: 0.05, for: 3m, action: rollback}
      - {name: ttft-p99, metric: ttft_p99, slo: 800ms, max_slo_ratio: 2, for: 5m, action: rollback}
      - {name: ttft-p95, metric: ttft_p95, max_increase: 0.3, for: 5m, action: pause}
    response_headers: off               # all | admin | off; no quotes needed
"""
"""A policy with what most teams write; the tests read it."""

DEFAULTS = """\
Evidence needs no minimum: it grows with every conversation, and holds while there is too little
([how](verdicts.md)). A candidate that fails outright is seen after three or four conversations of
its own at small weights, some ten at 50 %; smaller regressions take as long as the traffic does.
`hard-errors` is for what can hardly be compared, as at a weight of 99 %, and wants 30 conversations
of the candidate within its window.
Guardrails of your own replace all of these:
"""
"""What is said of the default guardrails."""

SMALL = """\
guardrails:
  - {name: errors, metric: error_rate, rule: evidence, severity: critical}
  - {name: ttft, metric: ttft, rule: evidence, margin: 0.2}       # 20 % slower is tolerated
  - {name: budget, metric: error_rate, slo: 0.999, max_burn_rate: 14.4, for: 1h}
  - {name: slow, metric: request_p95, slo: 20s, max_slo_ratio: 1.5, for: 10m, severity: mild}
  - {name: cost, metric: cost_per_request, rule: evidence, dry_run: true}
"""
"""Guardrails as a team writes them; the tests read them too."""

STEPS = """\
## How a step ends

A step is over when its `for` has passed (time in a pause does not count), it has had its
`min_conversations` of the candidate, **one at least** whatever is written, and of the guardrails
that act (`dry_run` ones do not) one has data, if there is any, and none is broken. The split of
the conversations must fit the weights. With `require: evidence` all guardrails of evidence that
act must have proven that the candidate is no worse than by `acceptable`. With `approve: true` it
then waits for `coalmine promote`, without time limit. So a last step `{weight: 100}` without
`for` goes straight on to the bake, as soon as one conversation of the candidate has been answered
in it.

`coalmine promote` goes to the next step at once, from the last one to the bake, and ends the
bake; with `--full` it goes to the last step. It passes over what the step waits for: `for`,
`min_conversations`, `approve`, guardrails without data, and in the bake what is left of `bake`.
It does not pass over guardrails: they judge on, and a breach pauses or rolls back as ever. In a
pause it is refused; `resume` comes first. Who resumes what a guardrail paused accepts its word:
that guardrail pauses this rollout no more, though it still rolls it back where it would.

`coalmine pause` keeps the weight: the candidate goes on getting that share of new conversations.
`for` (or `bake`) stands still, guardrails and `rollback` act. To take the candidate away is a
rollback.

Nor does time count in which nobody judged, as no worker was the controller or none reached the
state, 10 s and more at once. A bake that is over while the candidate has had no attempt for
`give_up` pauses, and asks. A pause for want of attempts, or for what one caller saw, has no
timebox, but gets that of a guardrail that breaks meanwhile.
"""
"""What ends a step, and what people can do about it; the tests hold it to the code."""

EVIDENCE = """\
## Rules

A guardrail has exactly one limit (`rule: static`), or `rule: evidence` and no limit.

- **Absolute limits** (`max`, `min`, `slo` × `max_slo_ratio`) act as their `action` says, once
  there are `min_conversations`. They do not count while stable breaks them too in the same
  minutes, or, for a rate, while the candidate's is no more than twice stable's; unless the arms
  share a `host`.
- **One caller**: where five or more call, a limit that would hold without one of them only pauses,
  and names his key; so do burn rates and evidence.
- **What not all answers have** (a first token, a score, a cost) wants `min_conversations` that do,
  and of stable 10 attempts. `throughput` is known once the window is filled, and has no relative
  limits: the arms' is as their weights are.
- **Burn rates** (`slo` with `max_burn_rate`, of rates) are absolute limits over two windows,
  `for` and a twelfth of it, both of which must be broken: with `slo: 0.999` a failure rate of
  1.44 % burns the error budget 14.4 times too fast. What one failure less
  would undo is no breach.
- **Relative limits** (`max_ratio`, `min_ratio`, `max_increase`) roll back only when evidence on
  the same metric corroborates them (20 or more), else they pause for their `timebox`, and roll back
  when nobody has come by its end. `alone: true` takes them at their word.
- **Evidence** compares all conversations of both arms by a test that may be looked at all the
  time; how is told in [verdicts.md](verdicts.md). It is there for `error_rate`, `ttft`,
  `inter_token`, `request`, `tokens_per_request`, `cost_per_request` and `score`; more of what is
  compared is worse, but of `score`. `timeout_rate` and `availability` have that on errors,
  percentiles that on the whole distribution.

`severity` says what a breach does where `action` does not: `critical` and `major` roll back,
`mild` pauses and asks.
"""
"""The kinds of rules, in words."""

LIMITS = """\
## Where a limit comes from

`max` and `min` are limits as they are written, and `slo` times `max_slo_ratio` is one. The others
are made of stable's figure, times `max_ratio`, `min_ratio` or 1 + `max_increase`. That figure is
taken over the same window, of conversations on stable that could have been drawn to the
candidate. With fewer than 10 attempts of theirs it is the baseline, stable's last 15 minutes
before the start, if that has at least 10; so are latencies while the candidate bears more than
twice stable's load for its capacity (`model_info: {capacity: 2}` of a deployment; 1 where it says
nothing).

Stable's share (`error_rate`, `timeout_rate`, `availability`) counts as **no better than one
failure in as many attempts as the smaller of both sides has**. Else twice an errorless stable
would be 0, and the candidate's first error the end of it. So a limit can look high while there is
little to judge: `coalmine status` says `15.4 %`, and beside it `stable 0 %, as 1 failure in 13`.

An example, with `max_ratio: 2`. In the window stable has 400 attempts without a failure and the
candidate 13, of which 2 failed. One failure in 13 is 7.7 %, and twice that is the limit, 15.4 %.
2 of 13 are 15.4 % too, which is not more: it holds. With a third failure (3 of 13, 23.1 %) it
breaks. As the candidate's attempts grow the limit falls: 4 % with 50 of them, 0.5 % with 400 and
more. Where stable's own share is the larger it counts: had 8 of its 400 failed (2 %), the limit
would be 4 % from 50 attempts of the candidate on.
"""
"""How a relative limit comes about; the tests calculate the example."""
