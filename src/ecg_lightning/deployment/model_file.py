"""Checks of a model file without loading it: its size, its structure and its description.

Runtimes load a file before they check it, so a stranger's file could take all memory. These checks read headers only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

from ecg_lightning.errors import ModelFileError

MAX_BYTES = 2**31
"""Most bytes of weights. Protobuf, and so ONNX, allows no more in one file."""
_MAX_XML_BYTES = 32 * 2**20
_MAX_TEXT_BYTES = 2**20
"""Most bytes of a description, which takes a few kilobytes."""
_MAX_XML_DEPTH = 64
"""Most levels of an .xml file. OpenVINO's own files have 8 levels, and 5 more for the body of a loop."""
_MAX_FIELDS = 500_000
"""Most operations, weights and shapes of a graph. The largest ensembles have some ten thousand."""
_MAX_OPERATIONS = 50_000
_LOOPS = {
    *("Loop", "Scan", "If", "SequenceMap", "TensorIterator"),
    *("BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"),  # ONNX Runtime alone has these
}
"""Operations with a graph inside, which may never end. No exporter makes them from this project's networks."""
_MOST_PADDING = 2**20
_MAX_NAME = 100

_GRAPH, _METADATA = 7, 14  # field numbers of ONNX's ModelProto (onnx.proto3)
_NODE = 1  # field of its GraphProto
_MODEL_FIELDS = {1, 2, 3, 4, 5, 6, _GRAPH, 8, _METADATA, 26}  # without functions, which are graphs of their own
_RUNTIME_MODEL_FIELDS = {*_MODEL_FIELDS, 20, 25}  # and functions, which ONNX Runtime's optimised files may hold
_GRAPH_FIELDS = {_NODE, 2, 5, 10, 11, 12, 13, 14, 15, 16}
_OPERATION = 4  # field of its NodeProto
_NODE_FIELDS = {1, 2, 3, _OPERATION, 5, 6, 7, 8, 9, 10}
_MAX_HEADER = 20  # bytes of a field's header: two varints of at most ten bytes
_VARINT, _BYTES = 0, 2  # wire types, the only ones that both messages use


class _DamagedError(ValueError):
    """Error for a file that is not such a model."""


class _LoopError(ValueError):
    """Error for a model whose run may take any time."""


def read_description(path: Path, key: str) -> str | None:
    """Return the text that a model file holds under `key`; None if there is none.

    Args:
        path: an .onnx file, or an OpenVINO .xml file.
        key: key in ONNX's metadata_props, or in OpenVINO's rt_info.

    Raises:
        ModelFileError: the file is not there, is too large, or is not such a model.
    """
    return _check_onnx(path, key) if path.suffix == ".onnx" else _check_xml(path, key)


def read_operations(path: Path) -> Iterator[str]:
    """Yield the names of the operations of an .onnx file that ONNX Runtime has written.

    Raises:
        ModelFileError: see `read_description`.
    """
    size = check_size(path)
    try:
        with path.open("rb") as file:
            for number, start, end in _fields(file, 0, size, _RUNTIME_MODEL_FIELDS):
                if number == _GRAPH:
                    for field, begins, ends in _fields(file, start, end, _GRAPH_FIELDS):
                        if field == _NODE:
                            yield _operation(file, begins, ends)
    except (_DamagedError, UnicodeDecodeError):
        raise ModelFileError(f"{path} is damaged or no ONNX model") from None


def check_structure(path: Path) -> None:
    """Refuse a file that is too large or not a model, before a runtime loads it.

    Raises:
        ModelFileError: see `read_description`.
    """
    if path.suffix in (".onnx", ".xml"):
        read_description(path, "")


def check_size(path: Path, most: int = MAX_BYTES) -> int:
    """Return the size of a file in bytes.

    Raises:
        ModelFileError: the file is not there, cannot be read, or is larger than any model that is exported here.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} is not there; name an exported .onnx or .xml file")
    if not os.access(path, os.R_OK):
        raise ModelFileError(f"{path} cannot be read; check its permissions")
    if (size := path.stat().st_size) > most:
        raise ModelFileError(
            f"{path} has {size:,} bytes, more than any exported model has (at most {most:,}); name another file"
        )
    return size


def _check_onnx(path: Path, key: str) -> str | None:
    size = check_size(path)
    found, n_operations = None, 0
    try:
        with path.open("rb") as file:
            for number, start, end in _fields(file, 0, size, _MODEL_FIELDS):
                if number == _GRAPH:
                    for field, begins, ends in _fields(file, start, end, _GRAPH_FIELDS):
                        if field == _NODE:
                            n_operations += 1
                            _check_operation(_operation(file, begins, ends), n_operations)
                elif number == _METADATA and found is None:
                    entry = dict(_texts(file, start, end))
                    found = entry.get(2, "") if entry.get(1) == key else None
    except _LoopError as error:
        raise ModelFileError(f"{path} is refused: {error}. Export it again") from None
    except (_DamagedError, UnicodeDecodeError):
        raise ModelFileError(f"{path} is damaged or no ONNX model; export it again") from None
    if not n_operations:
        raise ModelFileError(f"{path} is damaged or no ONNX model: it holds no operation; export it again")
    return found


def _operation(file: BinaryIO, start: int, end: int) -> str:
    """Return the name of a node's operation."""
    for number, begins, ends in _fields(file, start, end, _NODE_FIELDS):
        if number == _OPERATION:
            file.seek(begins)
            return file.read(min(ends - begins, _MAX_NAME)).decode()
    raise _DamagedError


def _check_operation(name: str, n_operations: int = 0) -> None:
    if name in _LOOPS:
        raise _LoopError(f"it holds the operation {name}, which may never end")
    if n_operations > _MAX_OPERATIONS:
        raise _LoopError(f"it holds more than {_MAX_OPERATIONS:,} operations")


def _fields(file: BinaryIO, start: int, end: int, known: set[int]) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of each field of a protobuf message. Weights are skipped and not read."""
    place = start
    for _ in range(_MAX_FIELDS):
        if place >= end:
            return
        file.seek(place)
        header = file.read(_MAX_HEADER)
        tag, used = _varint(header, 0)
        value, used = _varint(header, used)
        number, kind = tag >> 3, tag & 7
        begins = place + used
        place = begins + (value if kind == _BYTES else 0)
        if number not in known or kind not in (_VARINT, _BYTES) or place > end:
            raise _DamagedError
        yield number, begins, place
    raise _DamagedError


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of protobuf's variable length, and the place after it."""
    value = 0
    for shift, byte in enumerate(data[at : at + _MAX_HEADER // 2]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, at + shift + 1
    raise _DamagedError


def _texts(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Yield number and value of the fields of a message that holds texts alone."""
    if end - start > _MAX_TEXT_BYTES:
        raise _DamagedError
    for number, begins, ends in _fields(file, start, end, {1, 2}):
        file.seek(begins)
        yield number, file.read(ends - begins).decode()


def _check_xml(path: Path, key: str) -> str | None:
    if path.suffix != ".xml":
        raise ModelFileError(f"{path} is not a model that can be opened; name an .onnx or an OpenVINO .xml file")
    check_size(path, _MAX_XML_BYTES)
    reader = _XMLReader(key)
    try:
        with path.open("rb") as file:
            reader.parser.ParseFile(file)
    except _LoopError as error:
        raise ModelFileError(f"{path} is refused: {error}. Export it again") from None
    except (expat.ExpatError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged or not an OpenVINO model ({error}); export it again") from None
    if reader.root != "net":
        raise ModelFileError(f"{path} is no OpenVINO model: it holds <{reader.root[:40]}>, expected <net>")
    weights = path.with_suffix(".bin")
    if weights.is_file():
        size = check_size(weights)
        if not reader.weights_end <= size <= reader.weights_end + _MOST_PADDING:
            raise ModelFileError(
                f"{path} is damaged: it describes {reader.weights_end:,} bytes of weights, but {weights.name} "
                f"holds {size:,}; copy both files again, or export the model again"
            )
    return reader.found


class _XMLReader:
    """A reader of an OpenVINO model's structure as a stream."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.root = ""
        self.found: str | None = None
        self.weights_end = 0
        self._open: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        self._open.append(name)
        if len(self._open) > _MAX_XML_DEPTH:
            raise _DamagedError(f"more than {_MAX_XML_DEPTH} levels")
        if name == "layer":
            _check_operation(attributes.get("type", ""))
        if name == "data" and "offset" in attributes and "size" in attributes:
            self.weights_end = max(self.weights_end, int(attributes["offset"]) + int(attributes["size"]))
        elif self._open == ["net", "rt_info", self.key] and self.found is None:
            self.found = attributes.get("value")
            if self.found is not None and len(self.found) > _MAX_TEXT_BYTES:
                raise _DamagedError(f"a description of {len(self.found):,} characters")

    def _end(self, name: str) -> None:
        self._open.pop()

    def _refuse_doctype(self, *_: object) -> None:
        raise _DamagedError("a document type, which OpenVINO never writes")
