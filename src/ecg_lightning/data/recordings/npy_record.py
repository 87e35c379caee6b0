"""A reader of .npy arrays. The header is checked against the file before any memory is allocated."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ecg_lightning.data.recordings.input_file import open_regular
from ecg_lightning.data.recordings.window import Reading, Window
from ecg_lightning.data.wfdb import LEADS, RecordError

_MAX_HEADER_BYTES = 10_000
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: Path, rate: float, window: Window) -> Reading:
    """Return the part of a (12, T) or (T, 12) array that a model uses. Its leads are in the standard order.

    Raises:
        RecordError: the file is damaged, or not an array of twelve leads.
        OSError: the file cannot be read.
    """
    file, size = open_regular(path)
    with file:
        if file.read(4) == b"PK\3\4":
            raise RecordError("it is an .npz archive; save one array with numpy.save")
        file.seek(0)
        try:
            version = np.lib.format.read_magic(file)
            if version not in _HEADERS:
                raise RecordError(f"its .npy version is {version[0]}.{version[1]}; save the array with numpy.save")
            shape, fortran_order, dtype = _HEADERS[version](file, max_header_size=_MAX_HEADER_BYTES)
        except (OSError, RecordError):
            raise
        except Exception as error:  # NumPy raises any error that its parsing meets, such as TokenError
            reason = " ".join(str(error.args[0] if error.args else "").split())[:120] or type(error).__name__
            raise RecordError(f"it is damaged or not an .npy file ({reason})") from None
        if dtype.kind not in "iuf":
            raise RecordError(f"its values are {str(dtype)[:40]}, expected real numbers")
        is_count = (type(length) is int and length >= 0 for length in shape)  # NumPy accepts True as a length
        if len(shape) != 2 or len(LEADS) not in shape or not all(is_count):
            raise RecordError(
                f"its shape is {str(shape)[:60]}, expected (12, samples) or (samples, 12); put other leads into a "
                ".csv file, and name them in its first row"
            )
        if shape[0] == shape[1]:
            raise RecordError(
                f"its shape {shape} is square, so leads cannot be told from samples; save more or fewer samples"
            )
        needed = file.tell() + math.prod(shape) * dtype.itemsize
        if size < needed:
            raise RecordError(
                f"it is damaged or not an .npy file: it holds {size:,} bytes, but its header announces {needed:,}"
            )
        order = "F" if fortran_order else "C"
        signals = np.memmap(file, dtype, mode="r", offset=file.tell(), shape=shape, order=order)  # type: ignore[call-overload]
        signals_CT = signals if shape[0] == len(LEADS) else signals.T
        needed_CT = np.array(signals_CT[:, : window.samples_at(rate)], dtype=np.float64)
    return Reading(needed_CT, rate, signals_CT.shape[1])
