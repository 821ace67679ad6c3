"""How a problem of a policy file is printed."""

from coalmine.rollout.problems import Problem, problem_at, quoted


def test_a_problem_without_line_or_field_prints_what_it_has() -> None:
    assert str(Problem("", 0, "", "it is wrong")) == "it is wrong"
    assert str(Problem("f", 0, "a.b", "it is wrong", "mend it")) == "f: a.b: it is wrong (mend it)"


def test_a_path_is_written_as_people_write_it() -> None:
    path = ("services", "my chat", "rollout", "steps", 1, "weight")
    problem = problem_at("f", 3, path, "it is wrong")
    assert str(problem) == 'f:3: services["my chat"].rollout.steps[1].weight: it is wrong'


def test_a_long_text_is_cut() -> None:
    assert quoted("a" * 61) == '"' + "a" * 57 + '..."'
    assert quoted("ä" * 60) == '"' + "ä" * 60 + '"'


def test_a_field_whose_name_is_long_is_cut() -> None:
    """It may be no name: a document or a secret, with a colon behind it."""
    assert problem_at("f", 3, ("a" * 64,), "is not known").path == "a" * 64
    assert problem_at("f", 3, ("a" * 65,), "is not known").path == '["' + "a" * 57 + '..."]'
