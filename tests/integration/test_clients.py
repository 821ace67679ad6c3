"""Real clients' conversations, by the vendors' own libraries: tools, streams, agents."""

from __future__ import annotations

import http.client
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
import pytest

from .conftest import Starter
from .engines import Engines
from .gateway import Gateway, tally
from .worlds import Svc, world

HALF = {"steps": [{"weight": 50, "for": "10h"}], "bake": "10h", "holdback": 0}
SERVICES = [Svc("agents", rollout=HALF), Svc("hosted", prefix="hosted_vllm", rollout=HALF)]
KEYS = {"sk-alice": "alice"}
PARAMETERS = {"type": "object", "properties": {"words": {"type": "string"}}}
TOOL = {"name": "search", "description": "Searches.", "input_schema": PARAMETERS}
FUNCTION = {"type": "function",
            "function": {"name": "search", "description": "Searches.", "parameters": PARAMETERS}}
ITEM = {"type": "function", "name": "search", "description": "Searches.",
        "parameters": PARAMETERS}
EACH = range(6, 30)
"""Conversations of a kind: so many at least, and more until both releases have some."""
FRESH = itertools.count()


@pytest.fixture(scope="module")
def gateway(engines: Engines, start: Starter) -> Gateway:
    """Two workers, so that what one has served the other must recognise."""
    found = start(world("clients", SERVICES, engines, workers=2, keys=KEYS))[0]
    for service in SERVICES:
        found.command(service.name, "start", release="v2")
    return found


@pytest.fixture(scope="module")
def chat(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """OpenAI's library."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-alice", max_retries=0) as one:
        yield one


@pytest.fixture(scope="module")
def claude(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    """Anthropic's library."""
    with anthropic.Anthropic(base_url=gateway.url, api_key="sk-alice", max_retries=0) as one:
        yield one


@dataclass
class Journey:
    """Where the answers of one conversation came from."""

    releases: list[str] = field(default_factory=list)

    def took(self, headers: Any, said: str) -> None:
        """Take note of an answer: its headers agree with the model's own words."""
        release = headers["x-coalmine-release"]
        assert headers["x-coalmine-arm"] == {"v1": "stable", "v2": "candidate"}[release]
        assert int(headers["x-coalmine-epoch"]) > 0
        assert "x-coalmine-moved" not in headers
        assert f"[{release}]" in said or f'"release": "{release}"' in said, (release, said)
        self.releases.append(release)


def stick(conversation: Callable[[Journey], None]) -> None:
    """Have it several times: each stays on one release, and both releases have some."""
    begun: list[str] = []
    while len(begun) < EACH.start or set(begun) != {"v1", "v2"}:
        assert len(begun) < EACH.stop, begun
        journey = Journey()
        conversation(journey)
        assert len(set(journey.releases)) == 1, journey.releases
        assert len(journey.releases) > 2
        begun.append(journey.releases[0])


@pytest.fixture(autouse=True)
def _all_recognised(gateway: Gateway) -> Iterator[None]:
    """Whatever a client sends, it is known whose conversation it is."""
    yield
    assert tally(gateway.metrics(), "coalmine_unrecognised_total", ()) == {}


MODELS = [service.name for service in SERVICES]
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


# OpenAI ----------------------------------------------------------------------------------------


def completion(
    chat: openai.OpenAI, journey: Journey, stream: bool, **fields: Any
) -> dict[str, Any]:
    """One chat completion; returns the assistant's message as clients send it back."""
    text, calls = "", {}
    if stream:
        raw = chat.chat.completions.with_raw_response.create(stream=True, **fields)
        for chunk in raw.parse():
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for call in choice.delta.tool_calls or ():
                    known = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                    known["id"] += call.id or ""
                    known["name"] += call.function.name or ""
                    known["arguments"] += call.function.arguments or ""
    else:
        raw = chat.chat.completions.with_raw_response.create(**fields)
        message = raw.parse().choices[0].message
        text = message.content or ""
        calls = {n: {"id": call.id, "name": call.function.name,
                     "arguments": call.function.arguments}
                 for n, call in enumerate(message.tool_calls or ())}
    journey.took(raw.headers, text + "".join(call["arguments"] for call in calls.values()))
    said: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        said["tool_calls"] = [
            {"id": call["id"], "type": "function",
             "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in calls.values()]
    return said


@WAYS
@pytest.mark.parametrize("model", MODELS)
def test_a_chat_that_calls_tools_stays(chat: openai.OpenAI, model: str, stream: bool) -> None:
    """All begin with the same words; what tells them apart are the calls' ids.

    The prompt's date changes, and at last the history is cut, as clients do.
    """

    def conversation(journey: Journey) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "call tool, please"}]
        for turn in range(3):
            said = completion(chat, journey, stream, model=model, tools=[FUNCTION], messages=[
                {"role": "system", "content": f"It is minute {next(FRESH)}."}, *messages])
            (call,) = said["tool_calls"]
            messages += [said, {"role": "tool", "tool_call_id": call["id"], "content": "found"}]
            if turn == 1:
                messages.append({"role": "user", "content": "call tool again"})
        messages.append({"role": "user", "content": f"thanks {next(FRESH)}"})
        messages.append(completion(chat, journey, stream, model=model, messages=messages))
        messages.append({"role": "user", "content": "and now?"})
        completion(chat, journey, stream, model=model, messages=messages[-2:])

    stick(conversation)


@WAYS
def test_responses_stay_with_the_history_at_the_server_or_in_the_request(
    chat: openai.OpenAI, stream: bool
) -> None:
    """By `previous_response_id`, then by items with a call and its output in them."""

    def respond(journey: Journey, **fields: Any) -> Any:
        create = chat.responses.with_raw_response.create
        if stream:
            raw = create(model="agents", stream=True, **fields)
            done = [event.response for event in raw.parse() if event.type == "response.completed"]
            (response,) = done
        else:
            raw = create(model="agents", **fields)
            response = raw.parse()
        said = response.output_text + "".join(
            item.arguments for item in response.output if item.type == "function_call")
        journey.took(raw.headers, said)
        return response

    def at_the_server(journey: Journey) -> None:
        previous = respond(journey, input="Hello")
        for _ in range(3):
            previous = respond(journey, input=f"go on {next(FRESH)}",
                               previous_response_id=previous.id)

    def in_the_request(journey: Journey) -> None:
        items: list[Any] = [{"role": "user", "content": "call tool, please"}]
        answer = respond(journey, input=items, tools=[ITEM], instructions="Be brief.")
        (call,) = [item for item in answer.output if item.type == "function_call"]
        items += [item.model_dump(exclude_none=True) for item in answer.output]
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "found"})
        for _ in range(2):
            items.append({"role": "user", "content": f"thanks {next(FRESH)}"})
            answer = respond(journey, input=items, instructions=f"Now {next(FRESH)}.")
            items += [item.model_dump(exclude_none=True) for item in answer.output]

    stick(at_the_server)
    stick(in_the_request)


# Anthropic -------------------------------------------------------------------------------------


def message(
    claude: anthropic.Anthropic, journey: Journey, stream: bool, **fields: Any
) -> list[Any]:
    """One message; returns the content blocks as clients send them back."""
    fields = {"max_tokens": 200, **fields}
    if stream:
        with claude.messages.stream(**fields) as events:
            answer, headers = events.get_final_message(), events.response.headers
    else:
        raw = claude.messages.with_raw_response.create(**fields)
        answer, headers = raw.parse(), raw.headers
    blocks = [block.model_dump(exclude_none=True, include={"type", "text", "id", "name", "input"})
              for block in answer.content]
    words = "".join(block.get("text", "") for block in blocks)
    for block in blocks:
        if block["type"] == "tool_use":
            words += f'"release": "{block["input"]["release"]}"'
    journey.took(headers, words)
    return blocks


def results(blocks: list[Any]) -> list[Any]:
    """Answers to all calls."""
    return [{"type": "tool_result", "tool_use_id": block["id"], "content": "found"}
            for block in blocks if block["type"] == "tool_use"]


@WAYS
@pytest.mark.parametrize("model", MODELS)
def test_messages_that_use_tools_stay(
    claude: anthropic.Anthropic, model: str, stream: bool
) -> None:
    """With blocks, marks for the cache that move from turn to turn, and another system prompt."""

    def conversation(journey: Journey) -> None:
        messages: list[dict[str, Any]] = [{"role": "user", "content": "call tool, please"}]
        for _ in range(3):
            mark = {"cache_control": {"type": "ephemeral"}}
            blocks = message(
                claude, journey, stream, model=model, messages=messages, tools=[TOOL],
                system=[{"type": "text", "text": f"It is minute {next(FRESH)}.", **mark}])
            told = results(blocks)
            assert told
            messages += [{"role": "assistant", "content": blocks},
                         {"role": "user", "content": [
                             *told, {"type": "text", "text": "call tool again", **mark}]}]
        messages[-1] = {"role": "user", "content": messages[-1]["content"][:1]}
        message(claude, journey, stream, model=model, messages=messages)

    stick(conversation)


AGENTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "Claude Code's header": lambda name: {"extra_headers": {"x-claude-code-session-id": name}},
    "Claude Code's user id": lambda name: {
        "metadata": {"user_id": f"user_{'a' * 64}_account__session_{name}"}},
    "a header of the policy": lambda name: {"extra_headers": {"x-coalmine-session": name}},
}


@pytest.mark.parametrize("named", AGENTS.values(), ids=AGENTS)
def test_an_agent_and_its_subagents_are_one_conversation_by(
    claude: anthropic.Anthropic, named: Callable[[str], dict[str, Any]]
) -> None:
    """As Claude Code works: title, main loop, subagents with prompts of their own, compaction."""

    def session(journey: Journey) -> None:
        who = named(str(uuid.uuid4()))

        def say(system: str, messages: list[Any], stream: bool = True, **fields: Any) -> list[Any]:
            return message(claude, journey, stream, model="agents", messages=messages,
                           system=[{"type": "text", "text": system}], **who, **fields)

        say("Write a title.", [{"role": "user", "content": "call tool"}], stream=False)
        main: list[Any] = [{"role": "user", "content": "call tool, please"}]
        blocks = say("You are an agent.", main, tools=[TOOL])
        for n in range(2):
            task: list[Any] = [{"role": "user", "content": f"Task {n}: call tool"}]
            found = say(f"You are subagent {n}.", task, tools=[TOOL])
            task += [{"role": "assistant", "content": found},
                     {"role": "user", "content": results(found)}]
            say(f"You are subagent {n}.", task, tools=[TOOL])
        main += [{"role": "assistant", "content": blocks},
                 {"role": "user", "content": results(blocks)}]
        say("You are an agent, elsewhere.", main, tools=[TOOL])
        say("You are an agent.", [{"role": "user", "content": "Continued. Summary: …"}])

    stick(session)


def test_without_an_id_a_subagent_is_a_conversation_of_its_own_and_each_stays(
    claude: anthropic.Anthropic
) -> None:
    """Main loop and subagent are drawn apart, interleave, and neither moves."""
    pairs: list[set[str]] = []
    while len(pairs) < EACH.start or {"v1", "v2"} not in pairs:
        assert len(pairs) < EACH.stop, pairs
        main, sub = Journey(), Journey()
        begun: dict[str, list[Any]] = {}
        for turn, (name, journey) in itertools.product(range(3), (("main", main), ("sub", sub))):
            messages = begun.setdefault(name, [{"role": "user", "content": f"{name}, call tool"}])
            blocks = message(claude, journey, turn != 1, model="agents", messages=messages,
                             system=f"You are {name}.", tools=[TOOL])
            messages += [{"role": "assistant", "content": blocks},
                         {"role": "user", "content": [
                             *results(blocks), {"type": "text", "text": "call tool"}]}]
        assert len(set(main.releases)) == len(set(sub.releases)) == 1
        pairs.append({main.releases[0], sub.releases[0]})


def test_a_client_may_go_on_after_it_was_idle_for_longer_than_its_library_is(
    gateway: Gateway
) -> None:
    """httpx ends what is idle for 5 s, as uvicorn does: the gateway must be the more patient.

    It is with `--keepalive_timeout 180`.
    """
    connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=10)
    used = []
    try:
        for pause in (0.0, 6.5):
            time.sleep(pause)
            connection.request("GET", "/health/liveliness")
            used.append(connection.sock)
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
    except http.client.RemoteDisconnected:
        pytest.fail("the gateway has ended a connection that was idle for 6.5 s")
    finally:
        connection.close()
    assert used[0] is used[1]
