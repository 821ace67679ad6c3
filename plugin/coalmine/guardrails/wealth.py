"""Wealth: what bets against a null hypothesis have made of a stake of 1.

The bettor bets on **which arm produced an outcome**. The router itself drew the arm, so the odds
are known exactly, whatever the load, the hour or an incident does to both arms. While the null
hypothesis holds the wealth is a martingale (or falls), so the chance that it *ever* reaches 1/α is
at most α, however often one looks (Ville's inequality). Several bettors, the **parts**, share the
stake, each for a regression of its own size. A share of the stake starts as **cash**; half of it is
handed out over a horizon, a sixth over the next, a twelfth over the one after that, and so on
without an end: what begins late finds money that earlier, healthy hours have not lost.

What goes well on stable may speak a little against the candidate, so one whose conversations go
missing would look ever worse. A bettor who bets so **withholds** stable's gains: each outcome of
the candidate releases those of as many conversations of stable as belong to it, (1 − w) / w. To
withhold gains never raises a false alarm: each part is at most what it would be with them, as of
the cash it also gets only the share that is not withheld. And what decides is always an outcome of
the candidate.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (2023);
Lindon & Malek, "Anytime-Valid Inference for Multinomial Count Data" (2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

CASH = 0.3
"""Share of the stake that starts as cash."""

CALLERS = 500
"""Callers whose part in the wealth is told apart at most; of more, those with the least are not."""

LOOKED_AT = 8
"""Of them, those who are looked at when one must make room."""

RELEASED = 1.5
"""How many times as many of stable's conversations an outcome of the candidate releases as belong
to it. With 1 a candidate that fails outright is seen one conversation later."""

MOST = 300.0
"""Logarithm of the largest factor that is settled at once: a float must not overflow."""

RICH = 1e30
"""A part grows no further: no bar is near it, and a float must not overflow. To throw wealth away
never raises a false alarm."""


class Wealth:
    """The wealth of one detector.

    Args:
        shares: how the stake is shared by the parts; they add up to 1.
        horizon: seconds over which half of the cash is handed out.
        cash: share of the stake that starts as cash.
    """

    __slots__ = ("_gains", "_horizon", "_minute", "_others", "_passed", "_shares", "_withheld",
                 "cash", "parts")

    def __init__(self, shares: Sequence[float], *, horizon: float, cash: float = CASH) -> None:
        self._shares = tuple(shares)
        self._gains = [0.0] * len(self._shares)  # logarithms of what is withheld
        self._withheld = 0.0  # of how many conversations
        self.cash = cash
        self.parts = [(1.0 - cash) * share for share in shares]
        self._horizon = max(1.0, horizon / 60.0)
        self._minute: int | None = None
        self._passed = 0
        self._others: dict[str, list[float]] = {}

    @property
    def total(self) -> float:
        """Cash and all parts; 1 at the beginning."""
        return self.cash + sum(self.parts)

    def pass_time(self, now: float) -> None:
        """Hand out the cash of the minutes that have passed since the last call."""
        minute = int(now // 60.0)
        if self._minute is None:
            self._minute = minute
        passed = minute - self._minute
        if passed <= 0:
            return
        self._minute = minute
        self._passed += passed
        # After t minutes horizon / (horizon + t) of it is left.
        handed = self.cash * passed / (self._horizon + self._passed)
        if handed <= 0.0:
            return
        self.cash -= handed
        for i, share in enumerate(self._shares):
            got, before = handed * share * math.exp(-self._gains[i]), self.parts[i]
            if got <= 0.0:  # so much is withheld that a float cannot hold it
                continue
            self.parts[i] = after = before + got
            for ratios in self._others.values():
                ratios[i] = (ratios[i] * before + got) / after

    def bet(self, odds: Sequence[float], *, candidate: bool, null: float, caller: str = "") -> None:
        """Settle one bet for each part.

        Args:
            odds: how many times likelier the part takes the outcome to be on the candidate.
            candidate: the arm that it was.
            null: the chance of that under the null hypothesis, given the outcome.
            caller: whose outcome it is, "" when nobody knows.
        """
        rest = 1.0 - null
        if candidate:
            factors = [odd / (null * odd + rest) for odd in odds]
        else:
            factors = [1.0 / (null * odd + rest) for odd in odds]
        self.settle(factors, caller=caller)

    def settle(self, factors: Sequence[float], *, caller: str = "") -> None:
        """Multiply each part by its factor, whose mean under the null hypothesis is at most 1."""
        parts = self.parts
        for i, factor in enumerate(factors):
            grown = parts[i] * factor
            parts[i] = grown if grown < RICH else RICH
        if not caller:
            return
        ratios = self._others.get(caller)
        if ratios is None:
            # One who has only ever lowered the wealth cannot be who made it.
            if max(factors) <= 1.0:
                return
            self._make_room()
            ratios = self._others[caller] = [1.0] * len(parts)
        for i, factor in enumerate(factors):
            ratios[i] = min(RICH, ratios[i] / factor)

    def withhold(self, factors: Sequence[float], *, caller: str = "") -> None:
        """Settle a bet on an outcome of stable, but keep its gains back."""
        self.settle([min(1.0, factor) for factor in factors], caller=caller)
        self._withheld += 1.0
        for i, factor in enumerate(factors):
            if factor > 1.0:
                self._gains[i] += math.log(factor)

    def release(self, chance: float, *, caller: str = "") -> None:
        """Settle what belongs to an outcome of the candidate of what is withheld. It is the doing
        of that outcome's caller: without him it would still be withheld."""
        if not self._withheld:
            return
        released = min(RELEASED * (1.0 - chance) / chance, self._withheld)
        share = released / self._withheld
        self.settle([math.exp(min(MOST, share * gain)) for gain in self._gains], caller=caller)
        self._withheld -= released
        self._gains = [(1.0 - share) * gain for gain in self._gains]

    def _make_room(self) -> None:
        """Make room for one more caller: of the few who were told apart first, who has done least
        is so no more. To look at all of them would take as long as all else together."""
        if len(self._others) >= CALLERS:
            oldest = islice(self._others.items(), LOOKED_AT)
            least, _ = max(oldest, key=lambda one: self._left(one[1]))
            del self._others[least]

    def _left(self, ratios: Sequence[float]) -> float:
        return self.cash + sum(part * ratio for part, ratio in zip(self.parts, ratios, strict=True))

    def without_worst(self) -> tuple[str, float] | None:
        """Return the caller who has done most for the wealth and what it would be without his
        outcomes; None when nobody has raised it."""
        worst = min(self._others, key=lambda caller: self._left(self._others[caller]), default=None)
        return None if worst is None else (worst, self._left(self._others[worst]))

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON, for a take-over."""
        return {"cash": self.cash, "parts": self.parts, "minute": self._minute,
                "passed": self._passed, "others": self._others, "gains": self._gains,
                "withheld": self._withheld}

    def restore(self, document: dict[str, Any]) -> None:
        """Go on where :meth:`to_document` was made.

        Raises:
            ValueError: when it is of another kind of bettor.
        """
        parts = [float(part) for part in document["parts"]]
        if len(parts) != len(self.parts):
            raise ValueError(f"{len(parts)} parts instead of {len(self.parts)}")
        self.cash, self.parts = float(document["cash"]), parts
        self._minute, self._passed = document["minute"], int(document["passed"])
        self._gains = [float(gain) for gain in document["gains"]]
        self._withheld = float(document["withheld"])
        self._others = {caller: [float(x) for x in ratios]
                        for caller, ratios in document["others"].items()}
