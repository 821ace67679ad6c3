"""What a worker remembers: bounded, the ones heard of last."""

import threading

from coalmine.gateway.memory import SIZE, Memory


def test_it_forgets_the_ones_not_heard_of_for_longest() -> None:
    """A conversation that goes on stays, however old it is."""
    memory: Memory[int, str] = Memory(3)
    for key in (1, 2, 3):
        memory.put(key, "x")
    assert memory.get(1) == "x"
    memory.put(2, "y")
    memory.put(4, "x")
    assert (memory.get(3), memory.get(1), memory.get(2), memory.get(4)) == (None, "x", "y", "x")


def test_it_never_holds_more_than_its_size() -> None:
    """Whatever comes."""
    memory: Memory[int, int] = Memory(100)
    for key in range(10_000):
        memory.put(key % 777, key)
        assert len(memory) <= 100
    assert SIZE == 100_000


def test_what_was_looked_up_before_a_move_is_not_remembered() -> None:
    """It may be the very thing that was to be forgotten."""
    memory: Memory[int, str] = Memory()
    since = memory.forgotten
    memory.forget(1)
    memory.put(1, "old", since)
    assert memory.get(1) is None
    memory.put(1, "new", memory.forgotten)
    assert memory.get(1) == "new"
    since = memory.forgotten
    memory.clear()
    memory.put(1, "old", since)
    assert memory.get(1) is None


def test_other_threads_may_forget_and_clear_at_any_time() -> None:
    """The event loop notices nothing but that it is gone."""
    memory: Memory[int, int] = Memory(50)
    stop = threading.Event()

    def disturb() -> None:
        number = 0
        while not stop.is_set():
            memory.forget(number % 100)
            number += 1
            if number % 50 == 0:
                memory.clear()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for key in range(50_000):
            memory.put(key % 100, key)
            memory.get((key + 1) % 100)
    finally:
        stop.set()
        thread.join()
    assert len(memory) <= 50
