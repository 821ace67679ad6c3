"""How many conversations one caller may begin."""

from coalmine.gateway.newcomers import NEW_A_MINUTE, Newcomers


def test_each_caller_has_a_share_of_its_own_in_each_minute() -> None:
    """One that floods us takes nothing from the others, and may begin again a minute later."""
    newcomers = Newcomers()
    assert not any(newcomers.too_many("a", 59.0) for _ in range(NEW_A_MINUTE))
    assert newcomers.too_many("a", 59.9)
    assert not newcomers.too_many("b", 59.9)
    assert not newcomers.too_many("a", 60.0)
