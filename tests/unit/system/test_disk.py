"""A full disk in the thread of a writer."""

import errno
import threading

from ecg_lightning.system.disk import leave_full_disks_to_the_main_thread


def test_the_thread_of_a_writer_leaves_a_full_disk_to_the_main_thread(capsys, monkeypatch):
    def end(error):
        def write():
            raise error

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return capsys.readouterr().err

    monkeypatch.setattr(threading, "excepthook", None)
    leave_full_disks_to_the_main_thread()
    assert end(OSError(errno.ENOSPC, "No space left on device")) == ""
    assert "ValueError: another" in end(ValueError("another"))
