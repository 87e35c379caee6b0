"""The start of the programs, before any job."""

import errno

import pytest

from ecg_lightning.commands import launching
from ecg_lightning.version import __version__


def test_the_folder_of_a_full_disk_is_that_of_the_given_arguments(tmp_path, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    def read_only(*arguments):
        raise ValueError("Unable to configure handler") from OSError(
            errno.EROFS, "Read-only file system", "a/train.log"
        )

    for raised, said in (
        (full, f"{tmp_path}/s cannot be written: "),
        (read_only, "a/train.log: Read-only file system"),
    ):
        monkeypatch.setattr(launching, "_run_hydra_main", raised)
        with pytest.raises(SystemExit) as end:
            launching.train(["-m", "seed=1,2", f"hydra.sweep.dir={tmp_path}/s"])
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(f"error: {said}")


@pytest.mark.parametrize("program", ["train", "compress"])
def test_the_programs_print_this_projects_version(program, capsys):
    getattr(launching, program)(["--version"])
    assert capsys.readouterr().out == f"ecg-lightning {__version__}\n"
