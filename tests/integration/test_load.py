"""Ten thousand turns of two thousand conversations over four workers, through a whole rollout."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from .client import Client
from .engines import Engines
from .gateway import MASTER_KEY, Gateway, eventually, tally
from .worlds import Svc, world

PLAN = {"steps": [{"weight": 5, "for": "10h"}, {"weight": 50, "for": "10h"}], "bake": "10h"}
SERVICES = [Svc("many", rollout=PLAN)]
CONVERSATIONS, TURNS, CLIENTS = 2000, 5, 16


@dataclass
class Story:
    """What one conversation has seen."""

    name: str
    releases: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def turn(self, client: Client) -> None:
        """Take a turn and compare what comes with what was before."""
        answer = client.ask("chat", "many", f"turn of {self.name}", session=self.name)
        if answer.status != 200:
            self.wrong.append(f"{answer.status}: {answer.text[:200]}")
            return
        release = str(answer.release)
        if answer.spoke != release:
            self.wrong.append(f"the header says {release}, the text {answer.spoke}")
        if self.releases and release != self.releases[-1] and answer.moved != self.releases[-1]:
            self.wrong.append(f"{self.releases[-1]} → {release} untold")
        if answer.moved:
            self.told.append(answer.moved)
        self.releases.append(release)


@pytest.mark.timeout(900)
def test_ten_thousand_turns_none_on_a_wrong_release_and_every_attempt_counted_once(
    engines: Engines, start: Callable[..., list[Gateway]]
) -> None:
    """Weights 0 → 5 → 50 and a rollback while conversations begin, go on, and end."""
    gateway = start(world("load", SERVICES, engines, workers=4))[0]
    stories = [Story(f"conversation-{n}") for n in range(CONVERSATIONS)]
    local = threading.local()
    clients: list[Client] = []

    def take(story: Story) -> None:
        if not hasattr(local, "client"):
            local.client = Client(gateway.url, MASTER_KEY)
            clients.append(local.client)
        story.turn(local.client)

    # Four batches begin: at weight 0, 5, 50, and after the rollback. Each goes on to the end.
    quarter = CONVERSATIONS // 4
    draw = random.Random(7)
    with ThreadPoolExecutor(CLIENTS) as pool:
        def play(stage: int) -> None:
            begun = stories[: quarter * (stage + 1)]
            turns = [story for story in begun for _ in range(1 if stage < 3 else 2)]
            left = [s for s in begun if len(s.releases) + len(s.wrong) < TURNS]
            draw.shuffle(turns)
            list(pool.map(take, turns if stage < 3 else left))

        play(0)
        gateway.command("many", "start", release="v2")
        probes = sum(engines.asked("many").values()) - quarter
        play(1)
        gateway.command("many", "promote")
        play(2)
        gateway.command("many", "rollback", reason="enough")
        while any(len(s.releases) + len(s.wrong) < TURNS for s in stories):
            play(3)
    for client in clients:
        with closing(client):
            pass

    assert [story.wrong for story in stories if story.wrong] == []
    assert sum(len(story.releases) for story in stories) == CONVERSATIONS * TURNS
    first, second, third, fourth = (stories[quarter * n: quarter * (n + 1)] for n in range(4))
    assert {release for story in (*first, *fourth) for release in story.releases} == {"v1"}
    drawn = [sum(story.releases[0] == "v2" for story in batch) for batch in (second, third)]
    # Six standard deviations around 5 % and 50 % of 500.
    assert 0 < drawn[0] < 55, drawn
    assert 183 < drawn[1] < 317, drawn
    assert Counter(len(story.told) for story in stories) == {
        0: CONVERSATIONS - sum(drawn), 1: sum(drawn)}
    counted = eventually(lambda: (found := gateway.attempts("many"))
                         and sum(found.values()) == CONVERSATIONS * TURNS and found, 20)
    asked = engines.asked("many")
    assert sum(counted.values()) == sum(asked.values()) - probes
    assert {outcome for _, outcome in counted} == {"ok"}
    moves = tally(gateway.metrics(), "coalmine_moves_total", ("reason",), service="many")
    assert moves == {"rollback": sum(drawn)}
