"""The order of the rooms, as `pyproject.toml` lists it: imports point one way, and no room holds a circle."""

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports
from tiny import ROOT


def test_each_room_imports_only_those_below_it(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename="pyproject.toml", no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out
