"""Speed of verified reading against `wfdb.rdsamp`, interleaved in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import wfdb
from _common import interleave

from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.data.wfdb import RecordReader
from reliability.tally import Tally

_LEAST_RATIO = 70.0


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Read 2,000 records `tries` times, and 100 of them by wfdb."""
    root = folder / "data"
    write_synthetic_ptbxl(root, n_records=2000)
    paths = sorted(str(path.with_suffix("")) for path in root.glob("records100/*/*.hea"))
    out = np.empty((len(paths), 12, 1000), dtype="<i2")
    reader, few = RecordReader(100), paths[:100]

    def read() -> None:
        for path, row in zip(paths, out, strict=True):
            reader.read_into(path, row)

    seconds = interleave({"wfdb": lambda: [wfdb.rdsamp(path) for path in few], "verified": read}, tries)
    ratio = (len(paths) / seconds["verified"]) / (len(few) / seconds["wfdb"])
    tally = Tally("speed of verified reading", f"at least {_LEAST_RATIO:g} times that of `wfdb.rdsamp`")
    tally.figures = {"times as fast as `wfdb.rdsamp`": ratio, "records a second": len(paths) / seconds["verified"]}
    tally.count(None if ratio >= _LEAST_RATIO else f"{ratio:.1f} times", "")
    return [tally]
