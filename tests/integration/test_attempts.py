"""Every attempt is counted exactly once, whatever befalls it.

The engines are the witnesses: each deployment is served under its own name, so their own lists say
how many attempts it got and how each of them ended.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from typing import Any

import pytest

from .client import ENDPOINTS, body_of
from .conftest import Starter
from .engines import TOKENS, Engines
from .gateway import Gateway, Setup, eventually, free_port, tally
from .worlds import QUIET, Svc, world

ONCE = {"DEFAULT_MAX_RETRIES": "0"}
"""No retries of the OpenAI client's own, which LiteLLM leaves to it for embeddings."""

IMPATIENT = {"timeout": 0.5, "stream_timeout": 0.5}
ALONE = {"rescue": False}
MEASURED = [
    {
        "name": "length",
        "metric": "tokens_per_request",
        "max": 1000,
        "dry_run": True,
        "min_conversations": 1,
        "for": "5m",
    },
    *QUIET,
]

SERVICES = [
    # The first of each pair is asked at stable, the second at the candidate.
    Svc("plain"),
    Svc("hosted", prefix="hosted_vllm", more=ALONE),
    Svc("plain-slow", params=IMPATIENT),
    Svc("hosted-slow", prefix="hosted_vllm", params=IMPATIENT, more=ALONE),
    Svc("pair", blue=2),
    Svc("pair-hosted", prefix="hosted_vllm", blue=2, green=2, more=ALONE),
    Svc("memo"),
    Svc("backed"),
    Svc("dead", params={"api_base": f"http://127.0.0.1:{free_port()}/v1"}),
    Svc("long", more={**ALONE, "guardrails": MEASURED}),
]
OTHERS = ["backup-blue-1"]
SHAPES = [
    (endpoint, stream)
    for endpoint in ENDPOINTS
    for stream in (False, True)
    if not (stream and endpoint == "embeddings")
]
STRATEGIES = ("simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing-v2")
OUTCOMES = {
    "ok": "ok",
    "disconnect": "disconnect",
    "bad_request": "client_error",
    "invalid": "client_error",
    "hang": "timeout",
    "abort": "incomplete",
    "no_finish": "incomplete",
}
"""How Coalmine must call what the engine says; every other name is an error."""

FRESH = itertools.count()

FAULTS: dict[str, dict[str, Any]] = {
    "answers": {},
    "says 500": {"error_share": 1.0},
    "does not know the model (404)": {"unknown_model": True},
    "is overloaded (429)": {"overload": True},
    "says 400": {"bad_request_share": 1.0},
    "wants a key (401)": {"auth": True},
    "cuts the connection in the middle": {"cut_share": 1.0},
    "sends an error as first event": {"sse_error_share": 1.0},
    "sends an error in the middle": {"sse_error_mid_share": 1.0},
    "gives up in the middle (abort)": {"abort_share": 1.0},
    "ends without a finish reason": {"no_finish_share": 1.0},
}


def name_of(shape: tuple[str, bool]) -> str:
    """A request's shape in words."""
    return f"{shape[0]} streamed" if shape[1] else shape[0]


def text() -> str:
    """A question that nobody has asked before, so that no cache knows it."""
    return f"question {next(FRESH)}"


def expected(asked: Counter[tuple[str, str]], **but: str) -> Counter[tuple[str, str]]:
    """What Coalmine must count, by (deployment, outcome), from what the engines say."""
    found: Counter[tuple[str, str]] = Counter()
    for (deployment, outcome), times in asked.items():
        found[deployment, but.get(outcome) or OUTCOMES.get(outcome, "error")] += times
    return found


class Witness:
    """Compares what Coalmine counts of a service with what the engines say, from now on."""

    def __init__(self, gateway: Gateway, engines: Engines, service: str) -> None:
        self.gateway, self.engines, self.service = gateway, engines, service
        self._counted, self._since = gateway.attempts(service), engines.total()

    def asked(self) -> Counter[tuple[str, str]]:
        """What the engines were asked since, all of it over."""

        def over() -> Counter[tuple[str, str]] | None:
            asked = self.engines.asked(self.service, self._since)
            return None if any(outcome == "running" for _, outcome in asked) else asked or None

        return eventually(over)

    def counted(self) -> Counter[tuple[str, str]]:
        """What Coalmine has counted since."""
        return self.gateway.attempts(self.service) - self._counted

    def agrees(self, **but: str) -> Counter[tuple[str, str]]:
        """Wait until both say the same, and see that it stays so: nothing is counted twice."""
        wanted = expected(self.asked(), **but)

        def same() -> bool:
            counted = self.counted()
            assert counted == wanted, f"counted {dict(counted)}, but it was {dict(wanted)}"
            return True

        eventually(same)
        return wanted


# the proxies -----------------------------------------------------------------------------------


def settings(engines: Engines, strategy: str, *, callback: bool = True) -> Setup:
    """A proxy with one of LiteLLM's routing strategies, retries, a cache and several hosts."""
    services = [s for s in SERVICES if s.name in ("pair", "pair-hosted", "memo")]
    return world(
        f"{strategy}-{'with' if callback else 'without'}",
        services,
        engines,
        callback=callback,
        router={"routing_strategy": strategy, "num_retries": 1, "disable_cooldowns": True},
        litellm={"cache": True, "cache_params": {"type": "local"}},
        **ONCE,
    )


def main(engines: Engines) -> Setup:
    """The proxy of most tests."""
    backup = {
        "model_name": "backup",
        "litellm_params": {
            "model": "openai/backup-blue-1",
            "api_base": f"{engines.blue.url}/v1",
            "api_key": "none",
        },
        "model_info": {"id": "backup-blue-1"},
    }
    return world(
        "attempts",
        SERVICES,
        engines,
        extra=[backup],
        router={"fallbacks": [{"backed": ["backup"]}], "disable_cooldowns": True},
        **ONCE,
    )


def bare(engines: Engines, kind: str) -> Setup:
    """A proxy whose Coalmine has no policy, or is told to stay away."""
    env = {"COALMINE_BYPASS": "1"} if kind == "bypass" else {}
    return world(
        kind,
        [s for s in SERVICES if s.name in ("plain", "hosted")],
        engines,
        observe=kind == "observe",
        **env,
    )


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Starter) -> Gateway:
    """The proxy of most tests; the others start meanwhile."""
    (found,) = start(main(engines))
    start.begin(*(settings(engines, strategy) for strategy in STRATEGIES[1:]))
    for service in ("hosted", "hosted-slow", "pair-hosted", "long"):
        found.command(service, "start", release="v2")
    return found


@pytest.fixture(scope="module")
def by_strategy(engines: Engines, start: Starter, gateway: Gateway) -> dict[str, Gateway]:
    """A proxy for each strategy but the first, which is that of most tests."""
    found = start(*(settings(engines, strategy) for strategy in STRATEGIES[1:]))
    for one in found:
        one.command("pair-hosted", "start", release="v2")
    start.begin(
        *(settings(engines, strategy, callback=False) for strategy in STRATEGIES),
        bare(engines, "observe"),
        bare(engines, "bypass"),
    )
    return dict(zip(STRATEGIES, [gateway, *found], strict=True))


@pytest.fixture(scope="module")
def without_callback(
    engines: Engines, start: Starter, by_strategy: dict[str, Gateway]
) -> dict[str, Gateway]:
    """The same configurations without the callback."""
    found = start(*(settings(engines, strategy, callback=False) for strategy in STRATEGIES))
    return dict(zip(STRATEGIES, found, strict=True))


# one attempt -----------------------------------------------------------------------------------


HIDDEN = {
    *((("completions", True), service) for service in ("plain", "hosted")),
    *(((endpoint, False), service) for endpoint in ENDPOINTS for service in ("plain", "hosted")),
    (("chat", True), "hosted"),
    (("messages", True), "hosted"),
}
"""Shapes and prefixes with which LiteLLM hides that the engine gave no finish reason."""

CASES = [
    (shape, fault, service)
    for shape in SHAPES for fault in FAULTS for service in ("plain", "hosted")
    if fault != "ends without a finish reason" or (shape, service) not in HIDDEN
]


@pytest.mark.parametrize(
    ("shape", "fault", "service"), CASES,
    ids=[f"{name_of(shape)}-{fault}-{service}" for shape, fault, service in CASES],
)
def test_an_attempt_is_counted_once_when_the_engine(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool], fault: str, service: str
) -> None:
    """With the right outcome, release, arm and deployment."""
    endpoint, stream = shape
    # Embeddings follow stable.
    slot = "blue" if service == "plain" or endpoint == "embeddings" else "green"
    witness = Witness(gateway, engines, service)
    with engines.faults(slot, **FAULTS[fault]):
        answer = gateway.client().ask(endpoint, service, text(), stream=stream)
    # LiteLLM raises an error where a stream of responses has no last event.
    native = endpoint == "responses" or (endpoint == "messages" and service == "plain")
    but = {"no_finish": "error"} if native else {}
    if endpoint == "embeddings":
        but = {"abort": "ok"}
    counted = witness.agrees(**but)
    assert counted.total() == 1
    assert {deployment for deployment, _ in counted} == {f"{service}-{slot}-1"}
    labels = tally(
        gateway.metrics(),
        "coalmine_attempts_total",
        ("release", "arm"),
        service=service,
        deployment=f"{service}-{slot}-1",
    )
    assert set(labels) == {("v1", "stable") if slot == "blue" else ("v2", "candidate")}
    if fault == "answers":
        assert answer.good
        assert answer.release == answer.spoke or endpoint == "embeddings"


@pytest.mark.parametrize("service", ["plain", "hosted"])
@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_an_answer_that_ends_at_its_limit_is_complete(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool], service: str
) -> None:
    """vLLM sends that finish reason with the last content, where LiteLLM takes it off."""
    endpoint, stream = shape
    if endpoint == "embeddings":
        limit = {}
    else:
        limit = {"max_output_tokens" if endpoint == "responses" else "max_tokens": 3}
    witness = Witness(gateway, engines, service)
    assert gateway.client().ask(endpoint, service, text(), stream=stream, **limit).good
    assert {outcome for _, outcome in witness.agrees()} == {"ok"}


@pytest.mark.parametrize(
    ("shape", "service"), sorted(HIDDEN),
    ids=[f"{name_of(shape)}-{service}" for shape, service in sorted(HIDDEN)],
)
def test_litellm_hides_a_missing_finish_reason_so_it_counts_as_ok_in(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool], service: str
) -> None:
    """LiteLLM writes a stop of its own into whole answers and into streamed text completions.

    With hosted_vllm/ it makes one of ``[DONE]`` that looks just like what it makes of a reason that
    came with the last content, which is vLLM's way.

    vLLM itself always gives a reason in a whole answer.
    """
    endpoint, stream = shape
    slot = "blue" if service == "plain" or endpoint == "embeddings" else "green"
    witness = Witness(gateway, engines, service)
    with engines.faults(slot, no_finish_share=1.0):
        assert gateway.client().ask(endpoint, service, text(), stream=stream).good
    assert witness.agrees(no_finish="ok").total() == 1


def parity(shapes: list[tuple[str, bool]], first: str, second: str) -> list[Any]:
    """Each shape with one of two services, in turn."""
    return [
        pytest.param(
            shape, (first, second)[n % 2], id=f"{name_of(shape)} of {(first, second)[n % 2]}"
        )
        for n, shape in enumerate(shapes)
    ]


@pytest.mark.parametrize(
    ("shape", "service"),
    [
        *parity(SHAPES, "plain-slow", "hosted-slow"),
        *parity([("chat", False), ("chat", True)], "hosted-slow", "plain-slow"),
    ],
)
def test_an_engine_that_hangs_is_a_timeout_of_the_release(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool], service: str
) -> None:
    """The deployment's own timeout is over."""
    endpoint, stream = shape
    slot = "green" if service == "hosted-slow" and endpoint != "embeddings" else "blue"
    witness = Witness(gateway, engines, service)
    with engines.faults(slot, hang_share=1.0):
        answer = gateway.client().ask(endpoint, service, text(), stream=stream)
    assert not answer.good
    assert witness.agrees() == {(f"{service}-{slot}-1", "timeout"): 1}


@pytest.mark.parametrize(("shape", "service"), parity(SHAPES, "hosted", "plain"))
def test_a_timeout_that_the_client_asked_for_is_the_clients(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool], service: str
) -> None:
    """It says nothing about the release."""
    endpoint, stream = shape
    slot = "green" if service == "hosted" and endpoint != "embeddings" else "blue"
    witness = Witness(gateway, engines, service)
    with engines.faults(slot, hang_share=1.0):
        answer = gateway.client().ask(
            endpoint, service, text(), stream=stream, headers={"x-litellm-timeout": "0.4"}
        )
    assert not answer.good
    assert witness.agrees(hang="disconnect").total() == 1


@pytest.mark.parametrize("service", ["plain", "hosted"])
@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e != "embeddings"])
def test_a_client_that_leaves_in_the_middle_of_a_stream_is_a_disconnect(
    gateway: Gateway, engines: Engines, endpoint: str, service: str
) -> None:
    """Never the release's failure."""
    slot = "blue" if service == "plain" else "green"
    witness = Witness(gateway, engines, service)
    with engines.faults(slot, inter_token_factor=200.0):
        body = body_of(endpoint, service, text(), stream=True)
        with gateway.client().streaming(endpoint, body) as response:
            assert response.status_code == 200
            next(
                line
                for line in response.iter_lines()
                if f"[{'v1' if slot == 'blue' else 'v2'}]" in line
            )
        assert witness.agrees() == {(f"{service}-{slot}-1", "disconnect"): 1}


@pytest.mark.parametrize(("shape", "service"), parity(SHAPES, "plain", "hosted"))
def test_a_client_that_leaves_before_the_first_byte_is_never_the_releases_failure(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool], service: str
) -> None:
    """It is a disconnect where LiteLLM stops the engine, else what the engine made of it."""
    endpoint, stream = shape
    slot = "green" if service == "hosted" and endpoint != "embeddings" else "blue"
    witness = Witness(gateway, engines, service)
    with engines.faults(slot, ttft_factor=70.0):
        gateway.client().leave(endpoint, body_of(endpoint, service, text(), stream), after=0.2)
        assert witness.agrees().total() == 1


# several attempts of one request ---------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("service", ["pair", "pair-hosted"])
def test_retries_over_several_hosts_are_counted_one_by_one_with(
    by_strategy: dict[str, Gateway], engines: Engines, service: str, strategy: str
) -> None:
    """Half of the attempts fail, in all shapes, and LiteLLM tries again."""
    gateway = by_strategy[strategy]
    witness = Witness(gateway, engines, service)
    faults = {"error_share": 0.25, "sse_error_share": 0.15, "cut_share": 0.1}
    with engines.faults("blue", **faults), engines.faults("green", **faults):
        for endpoint, stream in SHAPES * 2:
            gateway.client().ask(endpoint, service, text(), stream=stream, num_retries=2)
    counted = witness.agrees()
    assert counted.total() > len(SHAPES) * 2
    assert {outcome for _, outcome in counted} == {"ok", "error"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_retry_goes_to_a_host_that_has_not_failed_the_request_with(
    by_strategy: dict[str, Gateway], engines: Engines, strategy: str
) -> None:
    """LiteLLM alone draws it anew: of two hosts with a dead one, half of the retries are lost."""
    since, client = engines.total(), by_strategy[strategy].client()
    with engines.faults("blue", error_share=1.0):
        for _ in range(6):
            assert not client.ask("chat", "pair", text(), num_retries=1).good
    assert engines.asked_of("pair-blue-1", since) == engines.asked_of("pair-blue-2", since) == 6


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_a_configured_fallback_to_another_group_is_an_attempt_of_its_own(
    gateway: Gateway, engines: Engines, shape: tuple[str, bool]
) -> None:
    """The failure counts against the release, the answer of a foreign group for nobody."""
    endpoint, stream = shape
    since, counted = engines.total(), gateway.attempts("backed")
    with engines.faults("blue", error_share=1.0):
        gateway.client().ask(endpoint, "backed", text(), stream=stream)
    # LiteLLM reads a text completion's stream after its own fallbacks, so it has none there.
    fallbacks = 0 if shape == ("completions", True) else 1
    assert engines.asked_of("backup-blue-1", since) == fallbacks
    wanted = Counter({("backed-blue-1", "error"): 1, ("backup-blue-1", "error"): fallbacks})
    eventually(lambda: gateway.attempts("backed") - counted == +wanted)
    labels = tally(
        gateway.metrics(),
        "coalmine_attempts_total",
        ("release", "arm"),
        service="backed",
        deployment="backup-blue-1",
    )
    assert set(labels) == {("", "")}


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_what_the_cache_answers_is_no_attempt_with(
    by_strategy: dict[str, Gateway], engines: Engines, strategy: str
) -> None:
    """Whatever LiteLLM's cache knows: attempts are the engines' requests, and hits are counted."""
    gateway = by_strategy[strategy]
    witness = Witness(gateway, engines, "pair")

    def hits() -> int:
        return tally(gateway.metrics(), "coalmine_cached_total", (), service="pair")[()]

    before, asked = hits(), 0
    for endpoint, stream in SHAPES:
        question = text()
        for _ in range(3):
            assert gateway.client().ask(endpoint, "pair", question, stream=stream).status == 200
            asked += 1
    counted = witness.agrees()
    eventually(lambda: hits() - before == asked - counted.total())
    assert hits() > before


def test_the_cache_never_gives_an_answer_of_another_release(
    by_strategy: dict[str, Gateway], engines: Engines
) -> None:
    """Not while both serve, and not after the rollback of the release that gave it."""
    gateway = by_strategy["least-busy"]
    gateway.command("memo", "start", release="v2")
    shapes = [shape for shape in SHAPES if shape[0] != "embeddings"]
    questions = {shape: text() for shape in shapes}

    def ask() -> set[str]:
        return {
            gateway.client().ask(*shape[:1], "memo", question, stream=shape[1]).spoke
            for shape, question in questions.items()
        }

    assert ask() == {"v2"}
    since = engines.total()
    assert ask() == {"v2"}
    assert engines.asked("memo", since).total() < len(shapes), "none of them was cached"
    with engines.faults("green", error_share=1.0):
        assert ask() <= {"v1", "v2"}
    gateway.command("memo", "rollback", reason="wrong answers")
    assert ask() == {"v1"}


def test_an_engine_that_is_not_there_is_one_error(gateway: Gateway) -> None:
    """Nobody answers at the deployment's port; the log says so, once for each name LiteLLM has."""
    position = gateway.log_position()
    for n, (endpoint, stream) in enumerate(SHAPES, 1):
        assert not gateway.client().ask(endpoint, "dead", text(), stream=stream).good
        eventually(lambda n=n: gateway.attempts("dead") == {("dead-blue-1", "error"): n})
    told = [line for line in gateway.log_since(position).splitlines() if "an attempt at" in line]
    assert sorted(line.partition(" counts as ")[2] for line in told) == [
        "error: APIConnectionError 500, ConnectionRefusedError",
        "error: InternalServerError 500, ConnectionRefusedError",
    ]


def test_the_openai_clients_own_retries_of_embeddings_are_one_attempt_to_litellm_and_to_us(
    engines: Engines, start: Starter, by_strategy: dict[str, Gateway]
) -> None:
    """With `openai/`, LiteLLM leaves two to it, whatever `max_retries` says; no hook sees them.

    The environment's DEFAULT_MAX_RETRIES=0 switches them off, as in all other tests here.
    """
    (gateway,) = start(bare(engines, "observe"))
    since, counted = engines.total(), gateway.attempts("plain")
    with engines.faults("blue", error_share=1.0):
        assert not gateway.client().ask("embeddings", "plain", text()).good
    assert engines.asked_of("plain-blue-1", since) == 3
    eventually(lambda: gateway.attempts("plain") - counted == {("plain-blue-1", "error"): 1})


def test_many_requests_at_once_are_all_counted(gateway: Gateway, engines: Engines) -> None:
    """In all shapes, with all faults, and while they run they are in flight."""
    witness = Witness(gateway, engines, "pair-hosted")
    faults = {
        "error_share": 0.1,
        "sse_error_share": 0.1,
        "cut_share": 0.1,
        "abort_share": 0.1,
        "bad_request_share": 0.1,
        "inter_token_factor": 50.0,
    }
    seen: list[dict[str, float]] = []

    def ask(endpoint: str, stream: bool) -> None:
        for _ in range(3):
            gateway.client().ask(endpoint, "pair-hosted", text(), stream=stream)

    with engines.faults("blue", **faults), engines.faults("green", **faults):
        threads = [threading.Thread(target=ask, args=shape) for shape in SHAPES * 2]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            seen.append(gateway.in_flight())
            threads[0].join(0.05)
        for thread in threads:
            thread.join()
    # Of embeddings an abort cannot be seen, and is nothing.
    asked = witness.asked()
    eventually(lambda: witness.counted().total() == asked.total())
    assert witness.counted().total() == asked.total() == len(SHAPES) * 2 * 3
    assert any(seen)


# figures ---------------------------------------------------------------------------------------


def observations(gateway: Gateway, service: str, arm: str) -> dict[str, int]:
    """Observations in the histograms of an arm."""
    metrics = gateway.metrics()
    return {
        name: tally(metrics, f"coalmine_{name}_seconds_count", (), service=service, arm=arm)[()]
        for name in ("ttft", "inter_token", "request")
    }


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e != "embeddings"])
@pytest.mark.parametrize("service", ["plain", "hosted"])
def test_only_good_answers_are_in_the_histograms(
    gateway: Gateway, engines: Engines, endpoint: str, service: str
) -> None:
    """A stream has a first token and gaps, a whole answer only its length; a failure nothing."""
    slot, arm = ("blue", "stable") if service == "plain" else ("green", "candidate")
    before = observations(gateway, service, arm)

    def grown() -> dict[str, int]:
        return {name: n - before[name] for name, n in observations(gateway, service, arm).items()}

    witness = Witness(gateway, engines, service)
    for faults in ({"error_share": 1.0}, {"sse_error_mid_share": 1.0}, {"abort_share": 1.0}):
        with engines.faults(slot, **faults):
            gateway.client().ask(endpoint, service, text(), stream=True)
    witness.agrees()
    assert grown() == {"ttft": 0, "inter_token": 0, "request": 0}
    with engines.faults(slot, ttft_factor=20.0):  # 0.2 s
        gateway.client().ask(endpoint, service, text(), stream=True)
    gateway.client().ask(endpoint, service, text())
    eventually(lambda: grown() == {"ttft": 1, "inter_token": 1, "request": 2})


def test_times_are_those_that_the_client_sees(gateway: Gateway, engines: Engines) -> None:
    """First token after 0.3 s, then 0.06 s each: the sums grow by that and little more."""

    def sums() -> list[float]:
        metrics = gateway.metrics()
        return [
            tally(metrics, f"coalmine_{name}_seconds_sum", (), service="plain", arm="stable")[()]
            for name in ("ttft", "inter_token", "request")
        ]

    gateway.client().ask("chat", "plain", text(), stream=True)
    witness = Witness(gateway, engines, "plain")
    before = sums()
    with engines.faults("blue", ttft_factor=30.0, inter_token_factor=20.0):
        gateway.client().ask("chat", "plain", text(), stream=True)
    witness.agrees()
    ttft, gap, whole = (now - then for now, then in zip(sums(), before, strict=True))
    assert 0.3 <= ttft < 0.5
    assert 0.05 <= gap < 0.1
    assert 0.3 + 0.06 * (TOKENS - 1) <= whole < 1.2


def test_tokens_are_counted_in_every_shape_that_says_them(gateway: Gateway) -> None:
    """The mean length that the judge sees is the engines' own."""
    asked = [(e, s) for e, s in SHAPES if e != "embeddings" and (e, s) != ("completions", True)]
    for endpoint, stream in asked:
        assert gateway.client().ask(endpoint, "long", text(), stream=stream).good

    def measured() -> Any:
        verdict = gateway.service("long")["verdict"] or {"guardrails": []}
        return {finding["name"]: finding["candidate"] for finding in verdict["guardrails"]}

    eventually(lambda: measured().get("length") == TOKENS)
    # Streamed text completions do not say it unless the client asks: they are left out, not zero.
    gateway.client().ask("completions", "long", text(), stream=True)
    eventually(lambda: gateway.service("long")["arms"]["candidate"]["attempts"] == len(asked) + 1)
    assert measured()["length"] == TOKENS


# with less of Coalmine, or none ----------------------------------------------------------------


def test_without_a_policy_it_observes_each_deployment_and_touches_no_routing(
    engines: Engines, start: Starter, by_strategy: dict[str, Gateway]
) -> None:
    """Groups are what LiteLLM makes of them, headers are none, figures are per deployment."""
    (gateway,) = start(bare(engines, "observe"))
    health = gateway.client(None).get("/coalmine/healthz")
    assert (health.status, health.json()["mode"]) == (200, "observe")
    witness = Witness(gateway, engines, "plain")
    for endpoint, stream in SHAPES:
        answer = gateway.client().ask(endpoint, "plain", text(), stream=stream)
        assert answer.good
        assert not [name for name in answer.headers if name.startswith("x-coalmine")]
    with engines.faults("blue", error_share=1.0):
        gateway.client().ask("chat", "plain", text())
    assert witness.agrees() == {("plain-blue-1", "ok"): len(SHAPES), ("plain-blue-1", "error"): 1}
    green = gateway.client().ask("chat", "plain.green", text())
    assert green.spoke == "v2"
    # Both slots are one service, as their deployments say; each counts for itself.
    eventually(lambda: gateway.attempts("plain").get(("plain-green-1", "ok")) == 1)
    series = gateway.metrics()["coalmine_attempts_total"]
    assert {dict(labels)["release"] for labels in series} == {""}
    assert {dict(labels)["arm"] for labels in series} == {""}
    assert gateway.client().get("/coalmine/api/services").json() == {"services": []}
    # A policy that comes later needs a restart, and says so; half a rollout would be worse.
    (gateway.directory / "coalmine.yaml").write_text(
        "services: {plain: {releases: {v1: {slot: blue}, v2: {slot: green}}, stable: v1}}")
    eventually(lambda: gateway.client(None).get("/coalmine/healthz").json()["policy"]
               == "restart_needed")
    assert gateway.client().post(
        "/coalmine/api/services/plain/start", {"release": "v2"}).status == 404
    assert gateway.client().ask("chat", "plain", text()).release is None


def test_bypass_switches_everything_off(
    engines: Engines, start: Starter, by_strategy: dict[str, Gateway]
) -> None:
    """LiteLLM serves its home groups; nothing of ours answers."""
    (gateway,) = start(bare(engines, "bypass"))
    for endpoint, stream in SHAPES:
        answer = gateway.client().ask(endpoint, "plain", text(), stream=stream)
        assert answer.good
        assert not [name for name in answer.headers if name.startswith("x-coalmine")]
    assert gateway.client().get("/coalmine/healthz").status == 404
    assert not list(gateway.directory.glob("*.db*"))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_the_callback_the_same_configuration_never_reaches_green_with(
    without_callback: dict[str, Gateway], engines: Engines, strategy: str
) -> None:
    """Not in any shape, and not when stable fails either."""
    gateway = without_callback[strategy]
    for service in ("pair", "pair-hosted"):
        since = engines.total()
        for endpoint, stream in SHAPES:
            assert gateway.client().ask(endpoint, service, text(), stream=stream).good
        with engines.faults("blue", error_share=1.0):
            for endpoint, stream in SHAPES[:3]:
                gateway.client().ask(endpoint, service, text(), stream=stream)
        asked = engines.asked(service, since)
        assert asked.total() > len(SHAPES)
        assert not [deployment for deployment, _ in asked if "green" in deployment]


def test_at_the_end_nothing_is_left_in_flight(by_strategy: dict[str, Gateway]) -> None:
    """After all of that."""
    for gateway in by_strategy.values():
        eventually(lambda gateway=gateway: not gateway.in_flight())
