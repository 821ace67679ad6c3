"""Asking a state that may not answer."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, current_thread, main_thread
from typing import Any

import pytest

from coalmine.gateway import patience as module
from coalmine.gateway.patience import PATIENCE, NotAsked, Patience
from coalmine.state import StateBusy, StateUnreachable

pytestmark = pytest.mark.anyio


class Questions:
    """A question that can be told to fail; it notes where it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.busy = False

    def __call__(self, *, wait: bool = True) -> int:
        self.asked.append("here" if current_thread() is main_thread() else "in a thread")
        if self.busy and not wait:
            raise StateBusy("it would have to wait")
        if self.error is not None:
            raise self.error
        return 42


@pytest.fixture
def question() -> Questions:
    """A question."""
    return Questions()


@pytest.fixture
def patience(mono: Callable[[], float]) -> Iterator[Patience]:
    """Patience with one thread."""
    with ThreadPoolExecutor(1) as executor:
        yield Patience(executor, mono)


async def test_a_question_is_asked_in_a_thread_unless_it_is_a_fast_one(
    patience: Patience, question: Questions
) -> None:
    """The event loop waits for no disk and no network."""
    assert await patience.ask(question) == 42
    assert await patience.ask_fast(question) == 42
    assert question.asked == ["in a thread", "here"]


async def test_a_fast_question_that_would_have_to_wait_is_asked_again_in_a_thread(
    patience: Patience, question: Questions
) -> None:
    """To be busy is no failure."""
    question.busy = True
    assert await patience.ask_fast(question) == 42
    assert question.asked == ["here", "in a thread"]


@pytest.mark.parametrize("way", ["ask", "ask_fast", "ask_here"])
async def test_after_a_failure_nobody_asks_for_a_moment(
    patience: Patience, question: Questions, mono: Any, way: str
) -> None:
    """Whichever way it was asked; and to be refused that does not make the moment longer."""
    question.error = StateUnreachable("away")

    async def ask() -> Any:
        answer = getattr(patience, way)(question)
        return answer if way == "ask_here" else await answer

    with pytest.raises(StateUnreachable, match="away"):
        await ask()
    question.error = None
    for _ in range(3):
        mono.now += PATIENCE / 4
        with pytest.raises(StateUnreachable, match="a moment ago"):
            await ask()
    assert len(question.asked) == 1
    mono.now += PATIENCE / 4
    assert await ask() == 42


async def test_a_fault_that_is_not_the_states_is_no_reason_to_wait(
    patience: Patience, question: Questions
) -> None:
    """It is raised as it is."""
    question.error = KeyError("a fault of ours")
    with pytest.raises(KeyError):
        await patience.ask(question)
    question.error = None
    assert await patience.ask(question) == 42


async def test_a_slow_answer_is_not_waited_for(
    patience: Patience, question: Questions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what stands behind it in the queue: it is not even asked any more."""
    monkeypatch.setattr(module, "LONGEST", 0.05)
    answers = Event()
    with pytest.raises(StateUnreachable, match="longer than"):
        await patience.ask(answers.wait, 10.0)
    with pytest.raises(NotAsked):
        await patience.ask(question)
    answers.set()
    assert question.asked == []
