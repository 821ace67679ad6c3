"""The bell over Redis: a subscription, kept alive by whoever waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis

AGAIN = 0.1
"""Seconds between two attempts to connect."""
PING = 1.0
"""Seconds of silence after which the server is asked whether it still hears us."""
SLICE = 0.25
"""Seconds after which a wait looks whether it was closed."""


class RedisBell:
    """One listener's bell. It rings once after each connect, for what was missed before.

    Args:
        subscription: makes an unconnected subscription.
        channel: the channel.
        deadline: seconds for an answer.
        heard: told the payload of each message.
    """

    def __init__(
        self, subscription: Callable[[], Any], channel: str, deadline: float,
        heard: Callable[[bytes], None],
    ) -> None:
        self._subscription = subscription
        self._channel = channel
        self._deadline = deadline
        self._heard = heard
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._current: Any = None
        self._last = 0.0
        self._pinged = False

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; True when it rang. Never raises."""
        end = time.monotonic() + timeout
        while not self._closed.is_set():
            left = end - time.monotonic()
            if left <= 0:
                return False
            try:
                with self._lock:
                    if self._closed.is_set():
                        return False
                    if self._current is None:
                        self._connect()
                        return True
                    if self._listen(min(left, SLICE)):
                        return True
            # The client raises ValueError and AttributeError too when it is closed under a read.
            except (redis.RedisError, OSError, ValueError, AttributeError):
                self._drop()
                self._closed.wait(min(AGAIN, max(0.0, end - time.monotonic())))
        return False

    def _connect(self) -> None:
        current = self._subscription()
        try:
            current.subscribe(self._channel)
            answer = current.get_message(timeout=self._deadline)
            if answer is None or answer["type"] != "subscribe":
                raise redis.TimeoutError("the subscription was not confirmed")
        except BaseException:
            current.close()
            raise
        self._current, self._last, self._pinged = current, time.monotonic(), False

    def _listen(self, seconds: float) -> bool:
        """Take what has come within `seconds`; whether any of it is a message."""
        silent = time.monotonic() - self._last
        if self._pinged and silent > PING + self._deadline:
            raise redis.TimeoutError("the subscription is dead")
        if not self._pinged and silent > PING:
            self._current.ping()
            self._pinged = True
        rang = False
        message = self._current.get_message(timeout=self._deadline if self._pinged else seconds)
        while message is not None:
            self._last, self._pinged = time.monotonic(), False
            if message["type"] == "message":
                rang = True
                self._heard(message["data"])
            message = self._current.get_message(timeout=0)
        return rang

    def _drop(self) -> None:
        with self._lock:
            current, self._current = self._current, None
            if current is not None:
                with suppress(redis.RedisError, OSError):
                    current.close()

    def close(self) -> None:
        """Give it back; a `wait` under way ends."""
        self._closed.set()
        self._drop()
