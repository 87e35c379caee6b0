"""Open the signal cache of a folder and print a digest of the signals, record by record: one builder of many."""

import hashlib
import sys
from pathlib import Path

from ecg_lightning.data.cache import open_cache


def names_in(root: Path) -> list[str]:
    """Return the records of a synthetic folder, in one order."""
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.glob("records100/*/*.hea"))


def digest_of(root: Path, cache_dir: Path) -> str:
    """Return a SHA-256 of all signals, in the order of `names_in`."""
    names = names_in(root)
    cache = open_cache(root, names, 100, cache_dir)
    digest = hashlib.sha256()
    for number in range(len(names)):
        digest.update(cache.signals_NCT[cache.row_of[number]].tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(digest_of(Path(sys.argv[1]), Path(sys.argv[2])))
