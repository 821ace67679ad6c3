"""What is true of the answers that clients got. Pure: turns and facts in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from coalmine.cli.demo.facts import Facts, Findings, Open, Promise, Turn
from coalmine.cli.demo.plan import CANDIDATE, STABLE


def judged(turns: Iterable[Turn], facts: Facts) -> Findings:
    """Judge the answers of a demo."""
    turns = sorted(turns, key=lambda turn: (turn.conversation, turn.number))
    late = [turn for turn in turns if _late(turn, facts)]
    told = sum(turn.moved is not None for turn in turns)
    turns, untold = _with_late_moves(turns, late)
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
    return Findings(
        served=served,
        stayed={release: sum(held == {release} for held in serving.values())
                for release in sorted(numbers)},
        told=told,
        open=open_at(turns, facts.flip),
        cut=len(cuts),
        late=len(late),
        wrong=wrong,
        errors=errors,
        promises=tuple(_promises(len(turns), wrong, errors, (told, untold), facts)),
    )


def _with_late_moves(turns: list[Turn], late: list[Turn]) -> tuple[list[Turn], int]:
    """Return the turns with late moves where they happened, and how many nobody could be told of.

    The headers of a late one had left before it was rescued: its text tells where it was, and the
    conversation's next answer says that it has moved. Some have no next answer.
    """
    found: list[Turn] = []
    open_moves: set[str] = set()
    for turn in turns:
        if turn in late:
            open_moves.add(turn.conversation)
            found.append(replace(turn, release=STABLE, moved=CANDIDATE))
        elif turn.conversation in open_moves and turn.moved == CANDIDATE:
            open_moves.discard(turn.conversation)
            found.append(replace(turn, moved=None))
        else:
            found.append(turn)
    last = {turn.conversation: turn for turn in turns if turn.release is not None}
    return found, sum(last[turn.conversation] is turn for turn in late)


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


def _promises(turns: int, wrong: tuple[str, ...], errors: tuple[str, ...],
              told: tuple[int, int], facts: Facts) -> Iterator[Promise]:
    yield Promise("no error reached a user", not errors, f"{len(errors)} of {turns} turns")
    yield Promise("nobody was served by a wrong release", not wrong,
                  f"{len(wrong)} of {turns} turns")
    last = f" and {told[1]} in a last answer, whose headers had left" if told[1] else ""
    counted = sum(facts.moves.values())
    yield Promise("every move was told to its client", sum(told) == counted,
                  f"{told[0]} told{last}, {counted} counted")
    early = facts.flip is not None and facts.bad is not None and facts.flip < facts.bad
    by_itself = facts.flip is not None and facts.by.startswith("guardrail ")
    yield Promise("it rolled back by itself, and not before v2 went bad", by_itself and not early,
                  "too early: " * early + (facts.by or "no rollback"))
    applied = facts.flip is not None and facts.last is not None
    yield Promise("every worker applied it", applied and facts.workers > 0,
                  f"{facts.workers} workers" if applied else "not all of them")
    yield Promise("the rollback was completed", facts.phase == "rolled_back", facts.phase or "?")
    compared = [pair for pair in facts.pairs if pair.engine is not None]
    unlike = [pair for pair in compared if pair.coalmine != pair.engine]
    yield Promise(
        "every attempt was counted exactly once", bool(compared) and not unlike,
        "; ".join(f"{p.release} {p.what}: {p.coalmine}, by the engine {p.engine}"
                  for p in unlike)
        or f"{sum(p.coalmine for p in compared if p.what != 'failures')} of them compared",
    )


def _died(turn: Turn, facts: Facts) -> bool:
    """Whether the turn broke because v2's engine died under it."""
    return (facts.dies and turn.cut and turn.release == CANDIDATE
            and facts.bad is not None and turn.ended >= facts.bad)


def _late(turn: Turn, facts: Facts) -> bool:
    """Whether v2's engine died between the headers and the first byte, and v1 answered."""
    return (facts.dies and turn.error is None and facts.bad is not None
            and turn.ended >= facts.bad and (turn.release, turn.said) == (CANDIDATE, STABLE))


def _told(turn: Turn, what: str) -> str:
    return f"{turn.conversation}, turn {turn.number}: {what}"
