"""What the demo is judged by and what is found: plain data, made by the story."""

from __future__ import annotations

from dataclasses import dataclass, field


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
        late: turns that were rescued from it after their headers had left, which name v2.
        wrong: turns on a wrong release, each in words.
        errors: errors that clients saw, each in words.
        promises: the promises.
    """

    served: dict[str, tuple[int, int]]
    stayed: dict[str, int]
    told: int
    open: Open
    cut: int
    late: int
    wrong: tuple[str, ...]
    errors: tuple[str, ...]
    promises: tuple[Promise, ...]

    @property
    def held(self) -> bool:
        """Whether every promise held."""
        return all(promise.held for promise in self.promises)
