"""Messages of a step that takes long."""

import logging
import time

from ecg_lightning.system.long_steps import long_step


def test_a_long_step_says_that_it_still_runs(caplog):
    caplog.set_level("INFO")
    logger = logging.getLogger("ecg_lightning.test")
    with long_step(logger, "all of it", interval_s=0.01), long_step(logger, "NNCF calibrates", interval_s=0.01):
        logging.getLogger().setLevel("ERROR")
        time.sleep(0.05)
        inside = [*caplog.messages]
    logging.getLogger().setLevel("INFO")
    assert inside[:3] == ["all of it", "NNCF calibrates", "NNCF calibrates: 0:00:00 so far"]
    assert "all of it: 0:00:00 so far" not in inside  # the inner step says more
    n_lines = len(caplog.messages)
    time.sleep(0.03)
    assert len(caplog.messages) == n_lines
