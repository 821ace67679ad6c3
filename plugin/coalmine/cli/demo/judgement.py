"""What is true of the answers that clients got. Pure: turns and facts in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from coalmine.cli.demo.plan import CANDIDATE, STABLE


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer, as the client saw them; times are unix seconds.

    Attributes:
        conversation: its id.
        number: of the turn in its conversation, from 1.
        began: when it was sent.
        ended: when the answer was complete, or broke.
        release: what the header names, None without one.
        said: the release that the answer's own text shows, None when it shows none.
        moved: the release that the conversation left, as the header says.
        error: what went wrong, None when nothing did.
        opened: whether a byte of the answer had come.
    """

    conversation: str
    number: int
    began: float
    ended: float
    release: str | None = None
    said: str | None = None
    moved: str | None = None
    error: str | None = None
    opened: bool = True

    @property
    def cut(self) -> bool:
        """Whether it broke after its first byte, when nobody can rescue it any more."""
        return self.error is not None and self.opened


@dataclass(frozen=True, slots=True)
class Pair:
    """Two counts of one thing that must be equal."""

    release: str
    what: str
    coalmine: int
    engine: int | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out beside the turns; moments are unix seconds, None when not reached.

    Attributes:
        spoiling: what was done to v2, in words.
        dies: whether v2's engine died, so that its open streams broke.
        bad: when v2 gave its first bad answer, at the earliest.
        flip: when the rollback was decided.
        last: when the last worker applied it.
        by: who rolled back.
        verdict: why, in words.
        phase: the phase at the end.
        workers: how many workers there were.
        moves: conversations that moved, by reason, as Coalmine counted them.
        pairs: what Coalmine counted and what the engines counted.
        history: the log's lines.
    """

    spoiling: str
    dies: bool = False
    bad: float | None = None
    flip: float | None = None
    last: float | None = None
    by: str = ""
    verdict: str = ""
    phase: str = ""
    workers: int = 0
    moves: dict[str, int] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    history: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Open:
    """Streams that were open on v2 at the flip, by how they ended."""

    completed: int = 0
    rescued: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: whether it held, and the figure that shows it."""

    name: str
    held: bool
    figure: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What the report tells.

    Attributes:
        served: turns and different conversations by release.
        stayed: conversations that had one release all along, by release.
        told: moves that answers told of.
        open: streams that were open on v2 at the flip.
        cut: turns that broke with v2's dying engine.
        wrong: turns on a wrong release, each in words.
        errors: errors that clients saw, each in words.
        promises: the promises.
    """

    served: dict[str, tuple[int, int]]
    stayed: dict[str, int]
    told: int
    open: Open
    cut: int
    wrong: tuple[str, ...]
    errors: tuple[str, ...]
    promises: tuple[Promise, ...]

    @property
    def held(self) -> bool:
        """Whether every promise held."""
        return all(promise.held for promise in self.promises)


def judged(turns: Iterable[Turn], facts: Facts) -> Findings:
    """Judge the answers of a demo."""
    turns = sorted(turns, key=lambda turn: (turn.conversation, turn.number))
    cuts = [turn for turn in turns if _died(turn, facts)]
    errors = tuple(_told(turn, turn.error or "") for turn in turns
                   if turn.error is not None and turn not in cuts)
    wrong = tuple(wrong_turns(turns, facts.last))
    serving: dict[str, set[str]] = {}
    for turn in turns:
        if turn.release is not None:
            serving.setdefault(turn.conversation, set()).add(turn.release)
    numbers = Counter(turn.release for turn in turns if turn.release is not None)
    served = {
        release: (sum(release in held for held in serving.values()), numbers[release])
        for release in sorted(numbers)
    }
    told = sum(turn.moved is not None for turn in turns)
    return Findings(
        served=served,
        stayed={release: sum(held == {release} for held in serving.values())
                for release in sorted(numbers)},
        told=told,
        open=open_at(turns, facts.flip),
        cut=len(cuts),
        wrong=wrong,
        errors=errors,
        promises=tuple(_promises(len(turns), wrong, errors, told, facts)),
    )


def wrong_turns(turns: Iterable[Turn], applied: float | None = None) -> Iterator[str]:
    """Yield, in words, every turn that was served by a release that was not its own.

    A conversation belongs to the release of its first answer until a header says that it moved;
    it may only leave v2, and never comes back to it.

    Args:
        turns: by conversation and number.
        applied: when the last worker had applied the rollback, None without one.
    """
    own: dict[str, str] = {}
    for turn in turns:
        if turn.release is None:
            continue
        before = own.get(turn.conversation)
        own[turn.conversation] = turn.release
        if turn.said != turn.release and (turn.error is None or turn.said is not None):
            yield _told(turn, f"the header says {turn.release}, the text {turn.said or 'nothing'}")
        elif turn.moved is not None and (turn.moved, turn.release) != (CANDIDATE, STABLE):
            yield _told(turn, f"a move from {turn.moved} to {turn.release}")
        elif turn.moved is not None and before not in (None, turn.moved):
            yield _told(turn, f"a move from {turn.moved}, but it was on {before}")
        elif turn.moved is None and before not in (None, turn.release):
            yield _told(turn, f"on {turn.release} without a word, it was on {before}")
        elif applied is not None and turn.began > applied and turn.release == CANDIDATE:
            yield _told(turn, f"on {CANDIDATE} after every worker had applied the rollback")


def open_at(turns: Iterable[Turn], flip: float | None) -> Open:
    """Return how the answers ended that were on their way on v2 at the flip."""
    if flip is None:
        return Open()
    under_way = [turn for turn in turns if turn.began < flip < turn.ended]
    on_it = [turn for turn in under_way if turn.release == CANDIDATE]
    return Open(
        completed=sum(turn.error is None for turn in on_it),
        rescued=sum(turn.moved == CANDIDATE and turn.error is None for turn in under_way),
        cut=sum(turn.error is not None for turn in on_it),
    )


def _promises(turns: int, wrong: tuple[str, ...], errors: tuple[str, ...], told: int,
              facts: Facts) -> Iterator[Promise]:
    yield Promise("no error reached a user", not errors, f"{len(errors)} of {turns} turns")
    yield Promise("nobody was served by a wrong release", not wrong,
                  f"{len(wrong)} of {turns} turns")
    counted = sum(facts.moves.values())
    yield Promise("every move was told to its client", told == counted,
                  f"{told} told, {counted} counted")
    by_itself = facts.flip is not None and facts.by.startswith("guardrail ")
    yield Promise("it rolled back by itself", by_itself, facts.by or "no rollback")
    applied = facts.flip is not None and facts.last is not None
    yield Promise("every worker applied it", applied and facts.workers > 0,
                  f"{facts.workers} workers" if applied else "not all of them")
    yield Promise("the rollback was completed", facts.phase == "rolled_back", facts.phase or "?")
    compared = [pair for pair in facts.pairs if pair.engine is not None]
    unlike = [pair for pair in compared if pair.coalmine != pair.engine]
    yield Promise(
        "every attempt was counted exactly once", bool(compared) and not unlike,
        "; ".join(f"{p.release} {p.what}: {p.coalmine}, the engine says {p.engine}"
                  for p in unlike)
        or f"{sum(p.coalmine for p in compared if p.what == 'attempts')} attempts",
    )


def _died(turn: Turn, facts: Facts) -> bool:
    """Whether the turn broke because v2's engine died under it."""
    return (facts.dies and turn.cut and turn.release == CANDIDATE
            and facts.bad is not None and turn.ended >= facts.bad)


def _told(turn: Turn, what: str) -> str:
    return f"{turn.conversation}, turn {turn.number}: {what}"
