"""The metrics of a simulated engine, under vLLM's names, in a registry of their own."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LABELS = ("model_name", "engine")
_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20)
_GAP = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20)
_E2E = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480)
# The KV cache counts as full with this many requests running.
_CACHE_REQUESTS = 256


@dataclass(slots=True)
class Load:
    """Requests in the engine now: being answered, and waiting for their first token for ever."""

    running: int = 0
    waiting: int = 0

    @property
    def in_flight(self) -> int:
        return self.running + self.waiting


class Meters:
    """Counts what vLLM counts; all times in seconds."""

    def __init__(self, model_name: str, load: Load) -> None:
        self._registry = CollectorRegistry()
        labels = {"model_name": model_name, "engine": "0"}

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, _LABELS, registry=self._registry).labels(**labels)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, _LABELS, registry=self._registry).labels(**labels)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            whole = Histogram(name, text, _LABELS, registry=self._registry, buckets=buckets)
            return whole.labels(**labels)

        gauge("vllm:num_requests_running", "Requests being answered.").set_function(
            lambda: load.running
        )
        gauge("vllm:num_requests_waiting", "Requests waiting.").set_function(lambda: load.waiting)
        gauge("vllm:kv_cache_usage_perc", "KV cache in use, 1 is full.").set_function(
            lambda: min(1.0, load.running / _CACHE_REQUESTS)
        )
        self._prompt = counter("vllm:prompt_tokens", "Prompt tokens processed.")
        self._generated = counter("vllm:generation_tokens", "Tokens generated.")
        self._rejected = counter("vllm:admission_rejections", "Requests refused by a full queue.")
        success = Counter(
            "vllm:request_success",
            "Requests answered to their end.",
            (*_LABELS, "finished_reason"),
            registry=self._registry,
        )
        self._success = {
            reason: success.labels(**labels, finished_reason=reason)
            for reason in ("stop", "length", "abort")
        }
        self._ttft = histogram(
            "vllm:time_to_first_token_seconds", "From arrival to the first token.", _TTFT
        )
        self._gap = histogram(
            "vllm:inter_token_latency_seconds", "From one token to the next.", _GAP
        )
        self._e2e = histogram(
            "vllm:e2e_request_latency_seconds", "From arrival to the last token.", _E2E
        )

    def first_token(self, seconds: float, prompt_tokens: int) -> None:
        self._ttft.observe(seconds)
        self._prompt.inc(prompt_tokens)
        self._generated.inc()

    def next_token(self, seconds: float) -> None:
        self._gap.observe(seconds)
        self._generated.inc()

    def finished(self, finish: str | None, seconds: float) -> None:
        """An answer reached its end; to vLLM's metrics a tool call is a stop."""
        self._success[finish if finish in ("length", "abort") else "stop"].inc()
        self._e2e.observe(seconds)

    def rejected(self) -> None:
        self._rejected.inc()

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)
