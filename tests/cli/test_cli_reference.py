"""The reference page is made from the commands, and the commands stay small."""

from __future__ import annotations

import shutil
from pathlib import Path

from typer.main import get_command

from coalmine.cli import commands, reference
from coalmine.cli.main import app

ROOT = Path(__file__).parents[2]


def test_the_page_in_the_docs_is_fresh():
    page = (ROOT / "docs" / reference.PAGE).read_text(encoding="utf-8")
    assert page == reference.text(), "run: python -m coalmine.cli.reference docs/"


def test_every_command_of_the_contract_is_there_and_described():
    found = get_command(app).commands
    assert list(found) == [
        "status", "start", "pause", "resume", "promote", "rollback", "history", "lint",
        "replay", "simulate", "demo",
    ]
    for name, command in found.items():
        assert f"\n## {name}\n" in reference.text()
        assert all(getattr(one, "help", "") for one in command.params)


def test_it_is_written_into_the_folder_that_is_named(tmp_path, capsys):
    assert reference.main([str(tmp_path)]) == 0
    assert (tmp_path / "cli.md").read_text(encoding="utf-8") == reference.text()
    assert reference.main([]) == 2
    assert "usage" in capsys.readouterr().err
    shutil.rmtree(tmp_path)
    assert reference.main([str(tmp_path)]) == 2


def test_a_command_is_a_file_of_at_most_50_lines():
    files = list(Path(commands.__path__[0]).glob("*.py"))
    assert len(files) == 12
    assert not [path for path in files if len(path.read_text("utf-8").splitlines()) > 50]
