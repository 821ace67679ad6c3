"""Who is served by which release, as users see it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx
import openai
import pytest

from .client import Answer
from .conftest import Starter
from .engines import Engines
from .gateway import MASTER_KEY, Gateway, eventually, tally
from .worlds import Svc, world

STEPS = {
    "steps": [
        {"weight": 10, "for": "10h"},
        {"weight": 50, "for": "10h"},
        {"weight": 100, "for": "10h"},
    ],
    "bake": "10h",
    "holdback": 0,
}
HALF = {
    "steps": [{"weight": 50, "for": "10h"}, {"weight": 100, "for": "10h"}],
    "bake": "10h",
    "holdback": 0,
}
SERVICES = [
    Svc("life", rollout=STEPS),
    Svc("back", prefix="hosted_vllm", rollout=HALF),
    Svc("finish", rollout=HALF, more={"sessions": {"grace": "0s", "on_rollback": "finish"}}),
    Svc("half", rollout=HALF),
    Svc("mapped"),
    Svc("quiet", more={"response_headers": "off"}),
    Svc("insider", more={"response_headers": "admin"}),
    Svc("rescue"),
    Svc("rescue-hosted", prefix="hosted_vllm"),
    Svc("bare", more={"rescue": False}),
    Svc("late", rollout=HALF, more={"sessions": {"grace": "1h"}}),
    Svc("vectors", mode="embedding", more={"unit": "key"}),
]
OTHERS = ["elsewhere-blue-1"]
KEYS = {f"sk-{name}": name for name in ("alice", "bob", *(f"user{n}" for n in range(12)))}
TALKING = ("chat", "completions", "messages", "responses")
FRESH = itertools.count()


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Starter) -> Gateway:
    """Two workers, so that what one knows the other must find; LiteLLM's cooldowns are on."""
    elsewhere = {
        "model_name": "elsewhere",
        "litellm_params": {
            "model": "openai/elsewhere-blue-1",
            "api_key": "none",
            "api_base": f"{engines.blue.url}/v1",
        },
        "model_info": {"id": "elsewhere-blue-1"},
    }
    (found,) = start(world("routing", SERVICES, engines, workers=2, keys=KEYS, extra=[elsewhere]))
    for service in ("half", "quiet", "insider", "rescue", "rescue-hosted", "bare"):
        found.command(service, "start", release="v2")
    return found


def fresh(what: str = "c") -> str:
    """A name that nobody has used."""
    return f"{what}-{next(FRESH)}"


# conversations ---------------------------------------------------------------------------------


@dataclass
class Told:
    """What a turn's answer said: the release by header and by the model's own words, the move."""

    release: str
    moved: str | None
    spoke: str


@dataclass
class Conversation:
    """One user's conversation, held as real clients hold theirs."""

    gateway: Gateway
    service: str
    kind: str
    key: str = "sk-alice"
    name: str = field(default_factory=fresh)
    messages: list[dict[str, Any]] = field(default_factory=list)
    previous: str | None = None
    began: str = ""

    def begin(self) -> Conversation:
        """Take the first turn and remember who served it."""
        self.began = self.turn().release
        return self

    def turn(self) -> Told:
        """Say something; the next turn follows on the answer."""
        return getattr(self, f"_{self.kind}")(f"{self.name} says {next(FRESH)}")

    def _raw(self, endpoint: str, text: str, headers: Mapping[str, str], **more: Any) -> Answer:
        answer = self.gateway.client(self.key).ask(
            endpoint, self.service, text, headers=headers, **more
        )
        assert answer.good, answer
        return answer

    def _told(self, answer: Answer) -> Told:
        return Told(answer.release or "", answer.moved, answer.spoke)

    def _header(self, text: str) -> Told:
        return self._told(self._raw("chat", text, {"x-coalmine-session": self.name}))

    def _webui(self, text: str) -> Told:
        return self._told(self._raw("chat", text, {"X-OpenWebUI-Chat-Id": self.name}, stream=True))

    def _session(self, text: str) -> Told:
        return self._told(self._raw("messages", text, {"x-litellm-session-id": self.name}))

    def _previous(self, text: str) -> Told:
        more = {"previous_response_id": self.previous} if self.previous else {}
        answer = self._raw("responses", text, {}, **more)
        self.previous = answer.json()["id"]
        return self._told(answer)

    def _openai(self, text: str) -> Told:
        self.messages.append({"role": "user", "content": text})
        with openai.OpenAI(
            base_url=f"{self.gateway.url}/v1", api_key=self.key, max_retries=0
        ) as client:
            raw = client.chat.completions.with_raw_response.create(
                model=self.service, messages=self.messages
            )
            said = raw.parse().choices[0].message.content
        self.messages.append({"role": "assistant", "content": said})
        return Told(
            raw.headers["x-coalmine-release"],
            raw.headers.get("x-coalmine-moved"),
            said[1:].partition("]")[0],
        )

    def _anthropic(self, text: str) -> Told:
        self.messages.append({"role": "user", "content": text})
        with (
            anthropic.Anthropic(
                base_url=self.gateway.url, api_key=self.key, max_retries=0
            ) as client,
            client.messages.stream(
                model=self.service, messages=self.messages, max_tokens=50
            ) as stream,
        ):
            said = stream.get_final_text()
            headers = stream.response.headers
        self.messages.append({"role": "assistant", "content": said})
        return Told(
            headers["x-coalmine-release"],
            headers.get("x-coalmine-moved"),
            said[1:].partition("]")[0],
        )


KINDS = ("header", "webui", "session", "previous", "openai", "anthropic")


def crowd(gateway: Gateway, service: str, each: int = 6) -> list[Conversation]:
    """Conversations of every kind that begin now."""
    found = [Conversation(gateway, service, kind) for kind in KINDS for _ in range(each)]
    together(lambda one: one.begin(), found)
    return found


def together(do: Any, things: list[Any], threads: int = 4) -> list[Any]:
    """Do it to all, several at once, as users do."""
    results: dict[int, Any] = {}
    failed: list[BaseException] = []
    left = iter(list(enumerate(things)))
    lock = threading.Lock()

    def work() -> None:
        while not failed:
            with lock:
                n, thing = next(left, (-1, None))
            if n < 0:
                return
            try:
                results[n] = do(thing)
            except BaseException as error:  # noqa: BLE001  raised again below
                failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    if failed:
        raise failed[0]
    return [results[n] for n in range(len(things))]


def stays(conversations: list[Conversation], blue: str = "v1") -> None:
    """Every conversation is where it began, says the header and says the model itself."""
    for one, told in zip(conversations, together(lambda c: c.turn(), conversations), strict=True):
        assert told.release == one.began, f"{one.kind} began on {one.began}, now {told}"
        assert told.moved is None, f"{one.kind}: {told}"
        assert told.spoke == ("v2" if told.release == "v2" else "v1"), f"{one.kind}: {told}"


def test_conversations_stay_where_they_began_through_a_whole_rollout(gateway: Gateway) -> None:
    """From 10 % over pause and resume to the end of the bake; then all move, once, and are told.

    The next release takes the other slot, and it begins anew.
    """
    old = crowd(gateway, "life", 2)
    assert {one.began for one in old} == {"v1"}
    gateway.command("life", "start", release="v2", reason="nightly")
    everyone = old + crowd(gateway, "life")
    stays(everyone)
    gateway.command("life", "promote")
    half = crowd(gateway, "life")
    assert {one.began for one in half} == {"v1", "v2"}
    everyone += half
    stays(everyone)
    gateway.command("life", "pause")
    everyone += crowd(gateway, "life", 1)
    stays(everyone)
    gateway.command("life", "resume")
    gateway.command("life", "promote")
    whole = crowd(gateway, "life", 1)
    assert {one.began for one in whole} == {"v2"}
    everyone += whole
    stays(everyone)
    assert gateway.command("life", "promote")["phase"] == "baking"
    stays(everyone)
    done = gateway.command("life", "promote")
    assert (done["phase"], done["stable"], done["candidate"]) == ("idle", "v2", None)
    for one, told in zip(everyone, together(lambda c: c.turn(), everyone), strict=True):
        assert (told.release, told.spoke) == ("v2", "v2"), one.kind
        assert told.moved == ("v1" if one.began == "v1" else None), f"{one.kind} {one.began} {told}"
        one.began = "v2"
    stays(everyone)

    put = gateway.client().put("/coalmine/api/services/life/releases/v3", {"slot": "blue"})
    assert put.status == 200, put.text
    gateway.command("life", "start", release="v3")
    gateway.command("life", "promote", full=True)
    stays(everyone)
    newest = crowd(gateway, "life", 1)
    assert {one.began for one in newest} == {"v3"}
    stays(newest)


def test_after_a_rollback_each_conversation_of_the_candidate_moves_once_and_is_told(
    gateway: Gateway,
) -> None:
    """Those of stable notice nothing; the phase ends when nothing is in flight."""
    gateway.command("back", "start", release="v2")
    everyone = crowd(gateway, "back")
    assert {one.began for one in everyone} == {"v1", "v2"}
    stays(everyone)
    sum_of_candidates = sum(one.began == "v2" for one in everyone)
    gateway.command("back", "rollback", reason="smells")
    for one, told in zip(everyone, together(lambda c: c.turn(), everyone), strict=True):
        assert (told.release, told.spoke) == ("v1", "v1"), one.kind
        assert told.moved == ("v2" if one.began == "v2" else None), f"{one.kind} {one.began} {told}"
        one.began = "v1"
    stays(everyone)
    assert {one.began for one in crowd(gateway, "back", 1)} == {"v1"}
    gateway.until("back", "rolled_back")

    def moves() -> int:
        return tally(
            gateway.metrics(), "coalmine_moves_total", (), service="back", reason="rollback"
        )[()]

    eventually(lambda: moves() == sum_of_candidates)


def test_a_manual_rollback_may_let_conversations_finish_where_they_are(gateway: Gateway) -> None:
    """`on_rollback: finish`: the candidate's go on there, new ones begin on stable."""
    gateway.command("finish", "start", release="v2")
    everyone = crowd(gateway, "finish", 2)
    assert {one.began for one in everyone} == {"v1", "v2"}
    gateway.command("finish", "rollback", reason="mild")
    stays(everyone)
    assert {one.began for one in crowd(gateway, "finish", 1)} == {"v1"}


def test_an_id_first_seen_within_the_grace_after_a_start_counts_as_old(gateway: Gateway) -> None:
    """It may be a live conversation that this gateway has not seen since its own start."""
    gateway.command("late", "start", release="v2")
    ids = [Conversation(gateway, "late", "header").begin() for _ in range(12)]
    assert {one.began for one in ids} == {"v1"}
    # What begins without an id is known to be new.
    assert {Conversation(gateway, "late", "openai").begin().began for _ in range(16)} == {
        "v1",
        "v2",
    }


def test_new_conversations_are_split_by_the_weight_and_each_stays(gateway: Gateway) -> None:
    """Hundreds of ids at 50 %: within five standard deviations, and the same at the second turn."""
    crowd_of = [Conversation(gateway, "half", "header", key=f"sk-user{n % 12}") for n in range(300)]
    together(lambda one: one.begin(), crowd_of, threads=6)
    candidates = sum(one.began == "v2" for one in crowd_of)
    assert 107 <= candidates <= 193
    stays(crowd_of[:60])


def test_the_same_id_of_two_callers_is_two_conversations(gateway: Gateway) -> None:
    """Ids are scoped by key: 40 pairs are not all alike, and each of them stays."""
    names = [fresh("shared") for _ in range(40)]
    alices = [Conversation(gateway, "half", "header", "sk-alice", name) for name in names]
    bobs = [Conversation(gateway, "half", "header", "sk-bob", name) for name in names]
    together(lambda one: one.begin(), alices + bobs)
    assert [a.began for a in alices] != [b.began for b in bobs]
    stays(alices + bobs)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("x" * 60_000, id="60 KB long"),
        pytest.param(b"\xff\xfe\x80\xc3\x28", id="not UTF-8"),
        pytest.param("ключ 🐤".encode(), id="UTF-8"),
        pytest.param("' OR 1=1; --\x1f\x1d", id="control characters"),
        pytest.param("   ", id="blank"),
    ],
)
def test_an_odd_id_is_an_id_or_the_servers_own_refusal(
    gateway: Gateway, value: str | bytes
) -> None:
    """Never an error of ours, and the same id is the same conversation."""
    raw = value.encode() if isinstance(value, str) else value
    seen = set()
    for _ in range(6):
        try:
            answer = gateway.client("sk-bob").ask(
                "chat", "half", fresh(), headers={"x-coalmine-session": raw}
            )
        except httpx.ProtocolError:
            return  # neither the client's library nor the server has it
        if answer.status != 200:
            assert answer.status in (400, 431), answer
            return
        seen.add(answer.release)
    assert len(seen) == 1 or not raw.strip()


# what clients may not choose -------------------------------------------------------------------


CHOICES: dict[str, dict[str, Any]] = {
    "a deployment's id": {"model": "mapped-green-1"},
    "a deployment's name": {"model": "openai/mapped-green-1"},
    "the other slot's group": {"model": "mapped.green"},
    "a list of excluded deployments": {
        "model": "mapped",
        "_excluded_deployment_ids": ["mapped-blue-1"],
    },
    "a forged token": {"model": "mapped", "metadata": {"coalmine": "0" * 24}},
    "a forged token in LiteLLM's own metadata": {
        "model": "mapped",
        "litellm_metadata": {"coalmine": "0" * 24},
    },
    "specific_deployment": {"model": "mapped", "specific_deployment": True},
    "fallbacks to the other slot": {"model": "mapped", "fallbacks": ["mapped.green"]},
}


@pytest.mark.parametrize("endpoint", TALKING)
@pytest.mark.parametrize("choice", CHOICES)
def test_a_client_cannot_choose_the_release_by(
    gateway: Gateway, engines: Engines, choice: str, endpoint: str
) -> None:
    """It is mapped to the service or stripped; stable answers, and is counted as such."""
    since, counted = engines.total(), gateway.attempts("mapped")
    fields = dict(CHOICES[choice])
    model = fields.pop("model")
    answer = gateway.client("sk-alice").ask(endpoint, model, fresh(), **fields)
    assert answer.good, answer
    assert (answer.spoke, answer.release, answer.arm) == ("v1", "v1", "stable")
    assert engines.asked("mapped", since) == {("mapped-blue-1", "ok"): 1}
    eventually(lambda: gateway.attempts("mapped") - counted == {("mapped-blue-1", "ok"): 1})


ATTACKS: dict[str, dict[str, Any]] = {
    "a list of models": {"model": "mapped,mapped.green,mapped.green"},
    "a fallback to the other slot's group": {"fallbacks": ["mapped.green"]},
    "a fallback to a deployment": {"fallbacks": ["mapped-green-1"]},
    "a fallback that replaces our record": {
        "fallbacks": [{"model": "mapped.green", "metadata": {}, "litellm_metadata": {}}]},
    "a fallback in a fallback": {
        "fallbacks": [{"model": "mapped", "num_retries": 0, "fallbacks": ["mapped-green-1"]}]},
    "another provider": {"custom_llm_provider": "anthropic"},
    "credentials of its own": {"extra_headers": {"Authorization": "Bearer nobody"}},
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_body_reaches_the_other_slot_even_while_stable_fails(
    gateway: Gateway, engines: Engines, attack: str
) -> None:
    """Green is never asked, and what is counted is what the engines were asked."""
    since, counted = engines.total(), gateway.attempts("mapped")
    fields = {"model": "mapped", **ATTACKS[attack]}
    with engines.faults("blue", error_share=1.0):
        answer = gateway.client("sk-alice").ask("chat", fields.pop("model"), fresh(), **fields)
    assert answer.status >= 400, answer
    asked = engines.asked("mapped", since)
    assert {name for name, _ in asked} == {"mapped-blue-1"}, asked
    failed = ("mapped-blue-1", "error")
    eventually(lambda: gateway.attempts("mapped")[failed] - counted[failed] == asked[failed])
    # LiteLLM cools a deployment down that fails; the next test wants it warm.
    eventually(lambda: gateway.client("sk-alice").ask("chat", "mapped", fresh()).good, 20)


@pytest.mark.parametrize("model", ["mapped.green", "mapped-green-1"])
def test_an_admin_may_address_the_other_slot(
    gateway: Gateway, engines: Engines, model: str
) -> None:
    """With the master key, to try a release before it is shipped."""
    since, counted = engines.total(), gateway.attempts("mapped")
    answer = gateway.client().ask("chat", model, fresh())
    assert (answer.status, answer.spoke) == (200, "v2")
    assert engines.asked("mapped", since) == {("mapped-green-1", "ok"): 1}
    tried = ("mapped-green-1", "ok")
    eventually(lambda: gateway.attempts("mapped")[tried] - counted[tried] == 1)
    assert not gateway.attempts(model)


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "api/services"),
        ("GET", "api/services/mapped"),
        ("GET", "api/services/mapped/history"),
        ("GET", "metrics"),
        ("PUT", "api/services/mapped/releases/v9"),
        *(
            ("POST", f"api/services/mapped/{verb}")
            for verb in ("start", "pause", "resume", "promote", "rollback")
        ),
    ],
)
def test_a_key_that_is_no_admins_may_ask_models_but_not_the_api(
    gateway: Gateway, verb: str, path: str
) -> None:
    """403, not 401: the key is right, its owner may not; an unknown one is 401."""
    epoch = gateway.service("mapped")["epoch"]
    for key, status in (("sk-alice", 403), ("sk-mallory", 401)):
        client = gateway.client(key)
        ask = {"GET": client.get, "POST": client.post, "PUT": client.put}[verb]
        answer = ask(f"/coalmine/{path}")
        assert answer.status == status, answer
        assert set(answer.json()["error"]) == {"code", "message", "hint"}
    assert gateway.service("mapped")["epoch"] == epoch


# headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("service", "key", "told"),
    [
        ("rescue", "sk-alice", True),
        ("quiet", "sk-alice", False),
        ("quiet", MASTER_KEY, False),
        ("insider", "sk-alice", False),
        ("insider", MASTER_KEY, True),
    ],
)
def test_headers_are_for_whom_the_policy_says(
    gateway: Gateway, service: str, key: str, told: bool, stream: bool
) -> None:
    """`response_headers: all`, `off` and `admin`."""
    answer = gateway.client(key).ask("chat", service, fresh(), stream=stream)
    assert answer.good
    ours = {name: value for name, value in answer.headers.items() if name.startswith("x-coalmine")}
    epoch = str(gateway.service(service)["epoch"])
    expected = {
        "x-coalmine-release": "v2",
        "x-coalmine-arm": "candidate",
        "x-coalmine-epoch": epoch,
    }
    assert ours == (expected if told else {})


# rescue ----------------------------------------------------------------------------------------


FAILURES: dict[str, dict[str, Any]] = {
    "says 500": {"error_share": 1.0},
    "does not know the model": {"unknown_model": True},
    "is overloaded": {"overload": True},
    "wants a key": {"auth": True},
    "sends an error as first event": {"sse_error_share": 1.0},
}


@pytest.mark.parametrize("service", ["rescue", "rescue-hosted"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("endpoint", TALKING)
def test_stable_answers_when_the_candidate(
    gateway: Gateway, engines: Engines, endpoint: str, stream: bool, failure: str, service: str
) -> None:
    """The user sees a good answer, then stays on stable; the failure is counted, once."""
    client, session = gateway.client("sk-alice"), fresh()
    before = gateway.attempts(service)
    usual = client.ask(endpoint, service, fresh(), stream=stream)
    eventually(lambda: (gateway.attempts(service) - before).total() == 1)
    since, counted, metrics = engines.total(), gateway.attempts(service), gateway.metrics()
    with engines.faults("green", **FAILURES[failure]):
        answer = client.ask(endpoint, service, fresh(), stream=stream, session=session)
    assert answer.good, answer
    assert answer.spoke == "v1"
    assert answer.models == {m.replace("-green-", "-blue-") for m in usual.models}
    # LiteLLM makes a stream's headers before it reads the stream, and asks for text completions
    # only then: in both cases the headers still say what was tried first.
    late = stream and (failure == "sends an error as first event" or endpoint == "completions")
    if late:
        assert (answer.release, answer.arm, answer.moved) == ("v2", "candidate", None)
    else:
        assert (answer.release, answer.arm, answer.moved) == ("v1", "stable", "v2")
    asked = engines.asked(service, since)
    assert {(name, outcome == "ok") for name, outcome in asked} == {
        (f"{service}-green-1", False),
        (f"{service}-blue-1", True),
    }
    assert asked.total() == 2
    wanted = {(f"{service}-green-1", "error"): 1, (f"{service}-blue-1", "ok"): 1}
    eventually(lambda: gateway.attempts(service) - counted == wanted)

    def grown(name: str, **where: str) -> int:
        by = {"service": service, **where}
        return tally(gateway.metrics(), name, (), **by)[()] - tally(metrics, name, (), **by)[()]

    eventually(lambda: grown("coalmine_rescued_total", release="v2") == 1)
    assert grown("coalmine_moves_total", reason="rescue") == 1
    again = client.ask(endpoint, service, fresh(), session=session)
    # Who could not be told then is told now, and nobody is told twice.
    assert (again.spoke, again.release, again.moved) == ("v1", "v1", "v2" if late else None)
    assert client.ask(endpoint, service, fresh(), session=session).moved is None
    assert grown("coalmine_moves_total") == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"disable_fallbacks": True}, id="disable_fallbacks"),
        pytest.param({"num_retries": 0}, id="num_retries 0"),
        pytest.param({"fallbacks": ["elsewhere"]}, id="fallbacks of its own"),
    ],
)
def test_rescue_does_not_depend_on_the_clients(
    gateway: Gateway, engines: Engines, fields: dict[str, Any], stream: bool
) -> None:
    """Whatever it says of retries and fallbacks, stable answers."""
    for failure in FAILURES.values():
        with engines.faults("green", **failure):
            answer = gateway.client("sk-alice").ask(
                "chat", "rescue", fresh(), stream=stream, **fields
            )
        assert answer.good, answer
        assert answer.spoke == "v1"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("endpoint", TALKING)
def test_a_bad_request_of_the_client_is_not_tried_again_at_stable(
    gateway: Gateway, engines: Engines, endpoint: str, stream: bool
) -> None:
    """It would fail there too; the client gets its 400, the conversation stays."""
    since = engines.total()
    session = fresh()
    with engines.faults("green", bad_request_share=1.0):
        answer = gateway.client("sk-alice").ask(
            endpoint, "rescue", fresh(), stream=stream, session=session
        )
    assert answer.status == 400, answer
    assert engines.asked("rescue", since) == {("rescue-green-1", "bad_request"): 1}
    again = gateway.client("sk-alice").ask(endpoint, "rescue", fresh(), session=session)
    assert (again.release, again.moved) == ("v2", None)


@pytest.mark.parametrize("share", ["cut_share", "sse_error_mid_share"])
@pytest.mark.parametrize("endpoint", TALKING)
def test_a_stream_that_breaks_after_its_first_byte_is_not_rescued_and_its_conversation_stays(
    gateway: Gateway, engines: Engines, endpoint: str, share: str
) -> None:
    """The client has bytes of the candidate already; nothing of stable is mixed into them."""
    since, session, client = engines.total(), fresh(), gateway.client("sk-alice")
    # Slow enough that the break does not come with the first byte, on a busy machine either.
    with engines.faults("green", inter_token_factor=60.0, **{share: 1.0}):
        broken = client.ask(endpoint, "rescue", fresh(), stream=True, session=session)
    assert broken.spoke == "v2"
    assert "[v1]" not in broken.text
    assert not broken.good
    assert engines.asked("rescue", since).total() == 1
    again = client.ask(endpoint, "rescue", fresh(), session=session)
    assert (again.release, again.moved) == ("v2", None)


def test_without_rescue_the_client_gets_the_candidates_error(
    gateway: Gateway, engines: Engines
) -> None:
    """`rescue: false`."""
    since = engines.total()
    with engines.faults("green", error_share=1.0):
        answer = gateway.client("sk-alice").ask("chat", "bare", fresh())
    assert answer.status == 500
    assert engines.asked("bare", since) == {("bare-green-1", "error"): 1}


def test_litellms_cooldown_does_not_starve_a_failing_candidate_of_evidence(
    gateway: Gateway, engines: Engines
) -> None:
    """Twenty new conversations: all try the candidate, all are answered by stable."""
    since = engines.total()
    with engines.faults("green", error_share=1.0):
        for _ in range(20):
            assert gateway.client("sk-alice").ask("chat", "rescue", fresh()).spoke == "v1"
    assert engines.asked("rescue", since) == {
        ("rescue-green-1", "error"): 20,
        ("rescue-blue-1", "ok"): 20,
    }
    assert gateway.client("sk-alice").ask("chat", "rescue", fresh()).spoke == "v2"


def test_users_of_stable_are_never_pushed_onto_the_candidate(
    gateway: Gateway, engines: Engines
) -> None:
    """When stable fails they get its errors, as without us, until it is well again."""
    everyone = [Conversation(gateway, "half", "header").begin() for _ in range(16)]
    mine = [one for one in everyone if one.began == "v1"]
    assert mine
    since = engines.total()
    with engines.faults("blue", error_share=1.0):
        for one in mine:
            answer = gateway.client(one.key).ask("chat", "half", fresh(), session=one.name)
            assert answer.status == 500, answer
    assert not [name for name, _ in engines.asked("half", since) if "green" in name]
    stays(everyone)


def test_embeddings_stay_on_stable_or_go_with_the_key(gateway: Gateway, engines: Engines) -> None:
    """One index must not mix two models; with `unit: key` all of a caller's go together."""
    answer = gateway.client("sk-alice").ask("embeddings", "rescue", fresh())
    assert (answer.status, answer.release, answer.arm) == (200, "v1", "stable")
    gateway.command("vectors", "start", release="v2")
    for key in ("sk-user1", "sk-user2"):
        answers = [gateway.client(key).ask("embeddings", "vectors", fresh()) for _ in range(4)]
        assert {a.status for a in answers} == {200}
        assert len({a.release for a in answers}) == 1
