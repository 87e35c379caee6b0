"""The signal cache with a damaged index or array: made anew, refused, or the right signals."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from ecg_lightning.data.cache import open_cache
from fuzz.good_files import LEADS, N_SAMPLES, RATE, ptbxl_folder
from fuzz.lanes import Target, WrongAnswerError
from fuzz.mutation import damaged_bytes, damaged_tree

_HEADER_BYTES = 128  # of a .npy file of version 1


def targets(folder: Path) -> list[Target]:
    """Return the targets, with their good files in `folder`."""
    root = ptbxl_folder(folder, n_records=8)
    names = sorted(str(path.relative_to(root).with_suffix("")) for path in root.glob("records100/*/*.hea"))
    open_cache(root, names, RATE, folder / "cache")
    (index,), (array,) = ((folder / "cache").rglob(pattern) for pattern in ("index-*.json", "signals-*.npy"))
    index_bytes, array_bytes = index.read_bytes(), array.read_bytes()
    content = json.loads(index_bytes)
    drawn = st.one_of(
        st.tuples(damaged_bytes(index_bytes), st.just(array_bytes)),
        st.tuples(damaged_tree(content).map(lambda tree: json.dumps(tree).encode()), st.just(array_bytes)),
        st.tuples(st.just(index_bytes), _damaged_array(array_bytes)),
    )
    expected = {name: np.fromfile(root / f"{name}.dat", "<i2").reshape(N_SAMPLES, len(LEADS)).T for name in names}
    return [Target("cache", drawn, partial(_check, root, names, index, array, expected))]


def _damaged_array(good: bytes) -> st.SearchStrategy[bytes]:
    """Damage the header, or anything."""
    header = damaged_bytes(good[:_HEADER_BYTES], 2).map(lambda damaged: damaged + good[_HEADER_BYTES:])
    return st.one_of(header, damaged_bytes(good))


def _check(
    root: Path, names: list[str], index: Path, array: Path, expected: dict[str, np.ndarray], drawn: tuple[bytes, bytes]
) -> None:
    shutil.rmtree(index.parent, ignore_errors=True)
    index.parent.mkdir(parents=True)
    index.write_bytes(drawn[0])
    array.write_bytes(drawn[1])
    found = open_cache(root, names, RATE, index.parents[2])
    if sorted(found.row_of) != list(range(len(names))) or found.missing or found.bad:
        raise WrongAnswerError(f"records {sorted(found.row_of)}, missing {found.missing}, bad {found.bad}")
    for number, name in enumerate(names):
        if not np.array_equal(found.signals_NCT[found.row_of[number]], expected[name]):
            raise WrongAnswerError(f"record {name} has another record's signals")
