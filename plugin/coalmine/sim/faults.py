"""What can go wrong in a simulated engine, as data; and which fault befalls which request.

Pure: no I/O, no clock. Randomness comes from a seed, so the same seed and the same order of
requests meet the same faults.
"""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any


class Outcome(str, Enum):
    """How a request ended, as the engine saw it; the names are those of `/sim/requests`."""

    RUNNING = "running"
    OK = "ok"
    DISCONNECT = "disconnect"  # the client went away: not an error of the engine
    INVALID = "invalid"  # the client really sent something malformed
    UNKNOWN_RESPONSE = "unknown_response"  # previous_response_id of another engine
    REJECTED = "rejected"  # more than `max_queued` requests in flight
    AUTH = "auth"
    UNKNOWN_MODEL = "unknown_model"  # by the fault, or because the name really is not served
    OVERLOAD = "overload"
    ERROR = "error"
    BAD_REQUEST = "bad_request"
    HANG = "hang"
    SSE_ERROR = "sse_error"
    SSE_ERROR_MID = "sse_error_mid"
    STALL = "stall"
    CUT = "cut"
    ABORT = "abort"
    NO_FINISH = "no_finish"


# In this order the shares divide the interval [0, 1): a request meets at most one of them.
_SHARES: tuple[tuple[str, Outcome], ...] = (
    ("error_share", Outcome.ERROR),
    ("bad_request_share", Outcome.BAD_REQUEST),
    ("hang_share", Outcome.HANG),
    ("sse_error_share", Outcome.SSE_ERROR),
    ("sse_error_mid_share", Outcome.SSE_ERROR_MID),
    ("stall_share", Outcome.STALL),
    ("cut_share", Outcome.CUT),
    ("abort_share", Outcome.ABORT),
    ("no_finish_share", Outcome.NO_FINISH),
)
_SWITCHES: tuple[tuple[str, Outcome], ...] = (
    ("auth", Outcome.AUTH),
    ("unknown_model", Outcome.UNKNOWN_MODEL),
    ("overload", Outcome.OVERLOAD),
)
_FACTORS = ("latency_factor", "ttft_factor", "inter_token_factor")
_SECONDS = ("stall_seconds", "hang_seconds")


def _number(name: str, value: object, low: float, high: float, hint: str) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        limits = f"0 to {high:g}" if math.isfinite(high) else "0 or more"
        raise ValueError(f"{name}={value!r} is not a number from {limits}: {hint}")


def _whole(name: str, value: object, low: int, high: int | None, hint: str) -> None:
    good = isinstance(value, int) and not isinstance(value, bool)
    if not good or value < low or (high is not None and value > high):  # type: ignore[operator]
        limits = f"from {low} to {high}" if high is not None else f"of {low} or more"
        raise ValueError(f"{name}={value!r} is not a whole number {limits}: {hint}")


def _switch(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} is not a switch: give true or false")


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one engine; the defaults are a healthy one.

    A share is the part of the requests that meets the fault (0 to 1). Shares exclude each other,
    so their sum is at most 1. Raises ValueError, naming the field, its value and what to give.
    """

    error_share: float = 0.0  # HTTP `error_status` at once
    error_status: int = 500  # 400 to 599
    latency_factor: float = 1.0  # multiplies every wait
    ttft_factor: float = 1.0  # multiplies the time to the first token
    inter_token_factor: float = 1.0  # multiplies the gap between tokens
    stall_share: float = 0.0  # silent for `stall_seconds` mid-way, then goes on
    stall_seconds: float = 5.0
    cut_share: float = 0.0  # the connection breaks mid-way: no finish, no [DONE]
    sse_error_share: float = 0.0  # HTTP 200 whose first event is an error
    sse_error_mid_share: float = 0.0  # HTTP 200, some content, an error, [DONE]
    hang_share: float = 0.0  # no answer until the client goes or `hang_seconds` passed
    hang_seconds: float = 600.0
    overload: bool = False  # 429 for every request
    max_queued: int | None = None  # in flight at most, as vLLM's --max-num-queued-reqs counts
    unknown_model: bool = False  # 404 for every model name
    abort_share: float = 0.0  # ends mid-way with finish_reason "abort"
    no_finish_share: float = 0.0  # [DONE] without a finish_reason
    bad_request_share: float = 0.0  # HTTP 400 at once
    auth: bool = False  # 401 for every request
    start_after: int = 0  # so many requests stay healthy after these faults were set

    def __post_init__(self) -> None:
        for name, _ in _SHARES:
            _number(name, getattr(self, name), 0.0, 1.0, "give a share, 0.05 for five in a hundred")
        for name in _FACTORS:
            _number(name, getattr(self, name), 0.0, math.inf, "give a factor, 1 for no change")
        for name in _SECONDS:
            _number(name, getattr(self, name), 0.0, math.inf, "give seconds, 2.5 for instance")
        for name, _ in _SWITCHES:
            _switch(name, getattr(self, name))
        _whole("error_status", self.error_status, 400, 599, "give an HTTP error status")
        _whole("start_after", self.start_after, 0, None, "give a number of requests")
        if self.max_queued is not None:
            _whole("max_queued", self.max_queued, 0, None, "give a number of requests, or null")
        total = math.fsum(getattr(self, name) for name, _ in _SHARES)
        if total > 1.0 + 1e-9:
            used = [f"{name}={getattr(self, name):g}" for name, _ in _SHARES if getattr(self, name)]
            raise ValueError(
                f"the shares {', '.join(used)} add up to {total:g}: a request meets at most one "
                "of them; lower them to a sum of at most 1"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Faults:
        """Read what `to_dict` wrote; what is left out is healthy.

        Raises ValueError for an unknown key (with the nearest known one) or a bad value.
        """
        if not isinstance(values, Mapping):
            raise ValueError(
                f"faults are {values!r}: give a JSON object, {{}} for a healthy engine"
            )
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise ValueError(f"{key}={values[key]!r} is no fault: {hint}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)


HEALTHY = Faults()


@dataclass(frozen=True, slots=True)
class Decision:
    """What one request will meet: its outcome, where (0 to 1) in the answer, and the faults."""

    outcome: Outcome
    where: float
    faults: Faults

    def midway(self, count: int) -> int:
        """After how many of `count` pieces the fault strikes: at least one, if possible not all."""
        return 1 + int(self.where * max(0, count - 1))


def outcome(faults: Faults, pick: float) -> Outcome:
    """Which outcome a request meets that drew `pick` from [0, 1); switches come before shares."""
    for name, result in _SWITCHES:
        if getattr(faults, name):
            return result
    edge = 0.0
    for name, result in _SHARES:
        edge += getattr(faults, name)
        if pick < edge:
            return result
    return Outcome.OK


class FaultPlan:
    """Deals out one Decision per request, in the order they arrive.

    Every request takes exactly two draws whatever the faults are, so switching them at run time
    never shifts what later requests draw.
    """

    def __init__(self, seed: int, faults: Faults = HEALTHY) -> None:
        self._seed = seed
        self._first = faults
        self.reset()

    @property
    def faults(self) -> Faults:
        return self._faults

    def set(self, faults: Faults) -> None:
        """Replace all faults; `start_after` counts from here."""
        self._faults = faults
        self._since = 0

    def reset(self) -> None:
        """Back to the beginning: the first draw, and the faults given at the start."""
        self._random = random.Random(self._seed)
        self.set(self._first)

    def next(self) -> Decision:
        """The decision for the request that has just arrived."""
        pick, where = self._random.random(), self._random.random()
        self._since += 1
        faults = self._faults if self._since > self._faults.start_after else HEALTHY
        return Decision(outcome(faults, pick), where, faults)
