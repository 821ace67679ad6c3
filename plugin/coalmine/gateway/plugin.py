"""LiteLLM's hooks. Each only translates LiteLLM's arguments and calls :class:`Requests` or
:class:`Accounts`; each is guarded, so that a fault of ours serves stable.

They must stand on this very class: LiteLLM looks for some of them in ``type(callback).__dict__``
and loses inherited ones without a word.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from coalmine.gateway.answers import Seen, merge, plain_text, read_chunk, tokens_of
from coalmine.gateway.finish_reasons import CURRENT, from_cache, make_current, provider_finished
from coalmine.gateway.guard import guarded, guarded_call, nothing
from coalmine.gateway.requests import Requests, deployment_id
from coalmine.gateway.response_cache import keep_apart
from coalmine.gateway.turns import Turn
from coalmine.gateway.worker import Worker


def _value(call_type: Any) -> str:
    return str(getattr(call_type, "value", call_type))


class CoalminePlugin(CustomLogger):
    """Coalmine as LiteLLM sees it.

    Args:
        worker: this process's Coalmine.
    """

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.worker = worker
        self.requests = Requests(worker)

    @guarded(lambda self, user_api_key_dict, cache, data, call_type: data)
    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> Any:
        """A client's request has come in."""
        await self.requests.begin(data, user_api_key_dict, _value(call_type))
        return data

    @guarded(lambda self, model, healthy_deployments, **_: healthy_deployments)
    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """LiteLLM asks which deployments may serve an attempt."""
        turn = self.worker.turns.of(request_kwargs)
        return await self.requests.choose(model, healthy_deployments, turn)

    @guarded(nothing)
    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        """An attempt begins."""
        turn = self.worker.turns.of(kwargs)
        make_current(turn)
        if turn is not None:
            self.worker.accounts.opened(turn, deployment_id(kwargs), _value(call_type))
            if turn.open is not None:
                keep_apart(kwargs, turn.service, turn.open.release)

    @guarded(nothing)
    async def async_post_call_success_deployment_hook(
        self, request_data: dict[str, Any], response: Any, call_type: Any
    ) -> None:
        """An attempt was answered without a stream; the client has nothing yet."""
        turn = self.worker.turns.of(request_data)
        if turn is not None:
            seen = self.worker.accounts.succeeded(turn, response, _value(call_type))
            if seen is not None:
                await self.requests.answered(turn)
        elif (around := CURRENT.get()) is not None:
            # The last event of the stream that LiteLLM nests in one of /v1/messages; it has lost
            # the request's metadata.
            self.worker.accounts.nested(around, response)

    @guarded(nothing)
    async def async_post_call_failure_deployment_hook(
        self, request_data: Any, exception: Exception, call_type: Any,
        fallback_depth: int | None = None,
    ) -> None:
        """An attempt failed before any answer."""
        turn = self.worker.turns.of(request_data)
        if turn is not None:
            self.worker.accounts.failed(turn, exception, _value(call_type))

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """A stream goes by. What we do with a chunk is guarded; what LiteLLM raises passes."""
        turn = self.worker.turns.of(request_data)
        if turn is None:
            async for chunk in response:
                yield chunk
            return
        make_current(turn)
        self._replayed(turn, response)
        parts: list[Seen] = []
        stream, source = response, response
        while source is not None:
            stream, source = source, None
            sent = False
            try:
                async for chunk in stream:
                    self._seen(turn, chunk, parts)
                    sent = True
                    yield chunk
                    make_current(turn)  # another task may read on: the first chunk has its own
            except BaseException as error:
                await self._ended(turn, parts, error, None)
                # A client that has gone away is no failure, and nobody waits for a second answer.
                lost = sent or not isinstance(error, Exception)
                source = None if lost else await self._rescued(turn, request_data)
                if source is None:
                    raise
        await self._ended(turn, parts, None, stream)

    @guarded(nothing)
    async def _rescued(self, turn: Turn, request_data: dict[str, Any]) -> Any:
        """A stream that failed before its first byte, in a way that LiteLLM does not fall back."""
        return await self.requests.rescue_stream(turn, request_data)

    @guarded_call
    def _seen(self, turn: Turn, chunk: Any, parts: list[Seen]) -> None:
        text = plain_text(chunk)
        if text is not None:
            self.worker.accounts.text(turn, text)
            return
        seen = read_chunk(chunk)
        self.worker.accounts.content(turn, seen)
        if seen.finish or seen.failed or seen.tokens is not None:
            parts.append(seen)

    @guarded_call
    def _replayed(self, turn: Turn, stream: Any) -> None:
        """LiteLLM's cache answers: known at once, as what it replays looks like a broken stream."""
        if from_cache(stream):
            self.worker.accounts.cached(turn)

    @guarded(nothing)
    async def _ended(self, turn: Turn, parts: list[Seen], error: BaseException | None,
                     stream: Any) -> None:
        finished = provider_finished(stream) if error is None else None
        self.worker.accounts.streamed(turn, merge(parts), error, finished)
        if error is None:
            await self.requests.answered(turn)

    @guarded(nothing)
    async def async_post_call_success_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any
    ) -> None:
        """The whole answer goes to the client: a rescued one keeps the model's usual name."""
        turn = self.worker.turns.of(data)
        if turn is None or turn.rescue is None:
            return
        if isinstance(response, dict) and "model" in response:  # messages
            response["model"] = turn.service
        elif hasattr(response, "model"):
            response.model = turn.service

    @guarded(nothing)
    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any,
        request_headers: Any = None, litellm_call_info: Any = None,
    ) -> dict[str, str] | None:
        """The client's headers are made."""
        return self.requests.headers(self.worker.turns.of(data))

    @guarded(nothing)
    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """Afterwards: tokens and cost, or the news that the cache answered."""
        turn = self.worker.turns.of(kwargs.get("litellm_params"))
        if turn is None:
            return
        if kwargs.get("cache_hit"):
            self.worker.accounts.cached(turn)
            return
        usage = tokens_of(kwargs.get("standard_logging_object"))
        cost = kwargs.get("response_cost")
        # 0 where LiteLLM does not know: a streamed text completion.
        self.worker.accounts.logged(turn, usage,
                                    float(cost) if isinstance(cost, (int, float)) else None)

    @guarded(nothing)
    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any,
        traceback_str: str | None = None,
    ) -> None:
        """The whole request failed: the backstop for an attempt that is still open."""
        turn = self.worker.turns.of(request_data)
        if turn is not None:
            self.worker.accounts.request_failed(turn, original_exception)
