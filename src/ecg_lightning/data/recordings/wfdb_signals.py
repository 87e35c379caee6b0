"""A decoder of WFDB signal files into digital values, in which missing samples are marked.

Format: the signal(5) manual of the WFDB software package, https://physionet.org/physiotools/wag/signal-5.htm
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Format:
    """A storage format.

    Attributes:
        bytes_per_sample: the bytes per sample; a fraction if samples are packed into groups.
        decode: the function from bytes, padded to whole groups, to values.
        missing: the value that marks a missing sample; None if there is none.
        group: the number of bytes that are packed together.
        word: the number of bytes that are written together.
        differences: whether the values are differences from the previous sample.
    """

    bytes_per_sample: Fraction
    decode: Callable[[Bytes], npt.NDArray[np.integer]]
    missing: int | None
    group: int = 1
    word: int = 1
    differences: bool = False

    def bytes_for(self, n_samples: int) -> int:
        """Return the number of bytes that hold `n_samples`."""
        return math.ceil(n_samples * self.bytes_per_sample / self.word) * self.word

    def samples_in(self, n_bytes: int) -> int:
        """Return the number of samples that fit into `n_bytes`."""
        return int(n_bytes / self.bytes_per_sample)

    def read(self, content: bytes, n_samples: int) -> Integers:
        """Return the first `n_samples` values of `content`."""
        padded = content + bytes(-len(content) % self.group)
        return self.decode(np.frombuffer(padded, np.uint8))[:n_samples].astype(np.int32, copy=False)


def _decode_212(raw: Bytes) -> Integers:
    """Return the samples of format 212: two of 12 bits in three bytes. The second byte holds the high bits of both."""
    low, high, second = (raw[byte::3].astype(np.int32) for byte in range(3))
    return _signed(np.stack([low | (high & 0x0F) << 8, second | (high & 0xF0) << 4], axis=1).ravel(), 12)


def _decode_310(raw: Bytes) -> Integers:
    """Return the samples of format 310: three of 10 bits in two 16-bit words.

    Two samples lie above each word's lowest bit, and the third in the high bits of both.
    """
    first, second = raw.view("<u2").astype(np.int32).reshape(-1, 2).T
    third = (first >> 11) | (second >> 11) << 5
    return _signed(np.stack([(first >> 1) & 0x3FF, (second >> 1) & 0x3FF, third], axis=1).ravel(), 10)


def _decode_311(raw: Bytes) -> Integers:
    """Return the samples of format 311: three of 10 bits in one 32-bit word, the first in its low bits."""
    words = raw.view("<u4")
    return _signed(np.stack([words >> shift & 0x3FF for shift in (0, 10, 20)], axis=1).ravel().astype(np.int32), 10)


def _decode_24(raw: Bytes) -> Integers:
    low, middle, high = (raw[byte::3].astype(np.int32) for byte in range(3))
    return _signed(low | middle << 8 | high << 16, 24)


def _signed(values: Integers, bits: int) -> Integers:
    """Return the values of numbers in two's complement of `bits` bits."""
    return np.where(values >= 1 << (bits - 1), values - (1 << bits), values)


FORMATS = {
    8: Format(Fraction(1), lambda raw: raw.view("i1"), None, differences=True),
    16: Format(Fraction(2), lambda raw: raw.view("<i2"), -(2**15), group=2),
    24: Format(Fraction(3), _decode_24, -(2**23), group=3),
    32: Format(Fraction(4), lambda raw: raw.view("<i4"), -(2**31), group=4),
    61: Format(Fraction(2), lambda raw: raw.view(">i2"), -(2**15), group=2),
    80: Format(Fraction(1), lambda raw: raw.astype(np.int32) - 2**7, -(2**7)),
    160: Format(Fraction(2), lambda raw: raw.view("<u2").astype(np.int32) - 2**15, -(2**15), group=2),
    212: Format(Fraction(3, 2), _decode_212, -(2**11), group=3),
    310: Format(Fraction(4, 3), _decode_310, -(2**9), group=4, word=2),
    311: Format(Fraction(4, 3), _decode_311, -(2**9), group=4),
}
