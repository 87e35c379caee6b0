"""Single bits flipped in the cache's index and header, and in checkpoints: refused, made anew, or without effect."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from ecg_lightning.checkpoints.loading import read_checkpoint
from ecg_lightning.errors import UserError
from reliability import products
from reliability.build_cache import digest_of
from reliability.states import first_difference
from reliability.tally import Tally

_HEADER_BYTES = 128  # of a .npy file


def measure(folder: Path, tries: int, resume: str) -> list[Tally]:
    """Flip `tries` bits, half of them in the cache and half of them in checkpoints."""
    made = products.make(folder, exported=False)
    bits = random.Random(4)
    cache = Tally("one bit of the cache's index or header", "refused, or the right signals")
    root, cache_dir = folder / "data", folder / "flipped"
    expected = digest_of(root, cache_dir)
    good = shutil.copytree(cache_dir, folder / "good")
    for number in range(tries // 2):
        shutil.rmtree(cache_dir)
        shutil.copytree(good, cache_dir)
        pattern, most = ("signals-*.npy", _HEADER_BYTES) if number % 5 == 4 else ("index-*.json", None)
        place = _flip(next(cache_dir.rglob(pattern)), bits, most)
        cache.count(_cache_fault(root, cache_dir, expected), place)
    checkpoints = Tally("one bit of a checkpoint", "refused, or nothing else is read")
    for number in range(tries - tries // 2):
        source = made.checkpoint.with_name("last.ckpt" if number % 2 else "best.ckpt")
        target = Path(shutil.copy(source, folder / "flipped.ckpt"))
        place = _flip(target, bits, None)
        checkpoints.count(_checkpoint_fault(target, source), place)
    return [cache, checkpoints]


def _flip(path: Path, bits: random.Random, most: int | None) -> str:
    content = bytearray(path.read_bytes())
    byte, bit = bits.randrange(min(most or len(content), len(content))), bits.randrange(8)
    content[byte] ^= 1 << bit
    path.write_bytes(content)
    return f"{path.name}: bit {bit} of byte {byte:,}"


def _cache_fault(root: Path, cache_dir: Path, expected: str) -> str | None:
    try:
        found = digest_of(root, cache_dir)
    except UserError:
        return None
    except Exception as error:  # whatever it is, it is the finding
        return f"{type(error).__name__}: {error}"
    return None if found == expected else "other signals were used in silence"


def _checkpoint_fault(damaged: Path, source: Path) -> str | None:
    expected = read_checkpoint(source)
    try:
        found = read_checkpoint(damaged)
    except UserError:
        return None
    except Exception as error:  # whatever it is, it is the finding
        return f"{type(error).__name__}: {error}"
    place = first_difference(found, expected)
    return f"used in silence: another value at {place}" if place else None
