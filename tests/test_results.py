"""The record of a run: which code it came from."""

import shutil
import subprocess

from ecg_lightning.runs import results


def test_the_revision_is_of_this_code_and_not_of_the_repository_around_it(tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    installed = tmp_path / "site-packages" / "results.py"
    installed.parent.mkdir()
    shutil.copy(results.__file__, installed)
    monkeypatch.setattr(results, "__file__", str(installed))
    assert results.git_revision() is None
    for command in (["init"], ["commit", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    assert results.git_revision() is None
    for command in (["add", "."], ["commit", "-m", "ours"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert head.startswith(results.git_revision() or "nothing")
    installed.write_text("changed")
    assert (results.git_revision() or "").endswith("-dirty")
