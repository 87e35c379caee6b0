"""The check of MATLAB files, in which the PhysioNet Challenges keep the signals of WFDB records.

A MAT-file of level 4 holds one array of 16-bit numbers after a short header. A WFDB header can therefore name it as a
signal file with an offset. Format: MathWorks, MAT-File Format, "Level 4 MAT-Files".
"""

from __future__ import annotations

import struct

from ecg_lightning.data.wfdb import RecordError

HEADER_BYTES = 20
_LAYOUT = struct.Struct("<5i")  # type, rows, columns, 1 if complex, bytes of the name
_NUMBERS = ("64-bit floats", "32-bit floats", "32-bit integers", "16-bit integers", "16-bit counts", "8-bit counts")
_STORED = {16: "16-bit integers", 32: "32-bit integers"}
_LONGEST_NAME = 64


def check_mat(head: bytes, name: str, code: int, n_signals: int, byte_offset: int) -> None:
    """Refuse a MATLAB file whose samples are stored otherwise than a WFDB header says.

    A file whose content is not MATLAB's, in spite of its name, is left to the other checks.

    Args:
        head: the first bytes of the file.
        name: the file's name.
        code: the storage format in the WFDB header.
        n_signals: the number of samples in a frame.
        byte_offset: the number of bytes before the first sample, from the WFDB header.

    Raises:
        RecordError: the file differs from the WFDB header. The message describes its content.
    """
    if head.startswith((b"MATLAB 5", b"MATLAB 7")):
        raise RecordError(
            f"{name} is a MATLAB file of version {head[7:10].decode('latin-1')}, and a WFDB header can only describe "
            "one of version 4; save it in MATLAB with '-v4', or in SciPy with format='4'"
        )
    if len(head) < HEADER_BYTES:
        return
    kind, rows, columns, is_complex, name_bytes = _LAYOUT.unpack_from(head)
    precision, rest = divmod(kind, 10)
    if rest or not (0 <= precision < len(_NUMBERS) and min(rows, columns) > 0 and is_complex in (0, 1)):
        return
    if not 0 < name_bytes <= _LONGEST_NAME:
        return
    numbers, start = _NUMBERS[precision], HEADER_BYTES + name_bytes
    if (numbers, rows, start, is_complex) != (_STORED.get(code), n_signals, byte_offset, 0):
        raise RecordError(
            f"{name} is a MATLAB array of {rows} rows of {numbers} from byte {start} on, and its header describes "
            f"{n_signals} rows of format {code} from byte {byte_offset} on; correct that"
        )
