"""Random numbers that depend only on a seed and a record's number, never on the batch that the record is in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_BITS = 23
"""Random bits of a number. A float32 holds the middle of each of the 2²³ intervals between 0 and 1 exactly."""


def hashed(words: Tensor) -> Tensor:
    """Return a hash of 32-bit words, as int64 from 0 to 2³² − 1.

    It is `lowbias32` of C. Wellons' Hash Prospector (2018), in int64, because PyTorch has few operations on uint32.
    """
    words = words & _WORD
    words = ((words ^ (words >> 16)) * 0x7FEB352D) & _WORD
    words = ((words ^ (words >> 15)) * 0x846CA68B) & _WORD
    return words ^ (words >> 16)


def record_keys(records_B: Tensor, seed: int) -> Tensor:
    """Return one key for each record, as (B,) int64.

    Args:
        records_B: the records' numbers, as (B,) int64.
        seed: the seed.
    """
    seeded = hashed(torch.as_tensor(seed, device=records_B.device) ^ (seed >> 32))
    return hashed(hashed(records_B ^ seeded) ^ (records_B >> 32))


def uniform(keys_B: Tensor, stream: int, n_draws: int) -> Tensor:
    """Return (B, n_draws) float32 numbers from 0 to 1, exclusively.

    Args:
        keys_B: the records' keys.
        stream: a number from 0 to 2³² − 1 that names the use. Streams are independent of each other.
        n_draws: how many numbers each record gets. A larger number only adds to the end.
    """
    counters_N = hashed(torch.arange(n_draws, device=keys_B.device) + hashed(torch.as_tensor(stream)).item())
    return ((hashed(keys_B[:, None] ^ counters_N) >> (32 - _BITS)).float() + 0.5) / (1 << _BITS)


def normal(n_draws: int, stream: int, device: torch.device) -> Tensor:
    """Return (n_draws,) standard normal float32 numbers (Box and Muller, 1958), the same ones for each stream."""
    keys = torch.arange(n_draws, device=device)
    first, second = uniform(keys, stream, 2).double().unbind(1)
    return (torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)).float()
