"""Checkpoint files: written as a whole, sealed with a digest, and read without trust in the sizes that they declare."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import pickletools
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from ecg_lightning.errors import CheckpointError, DiskFullError, UserError
from ecg_lightning.system import stopping
from ecg_lightning.system.disk import explain_full, is_full

log = logging.getLogger(__name__)

SEALED = "sealed"
"""Key of a checkpoint whose file ends with a digest."""

_SEAL = b"sha256:"
_SEAL_BYTES = len(_SEAL) + 64
_END = 22  # bytes of the record that ends a zip archive; its last two hold the length of the comment behind it
_MAX_RECORDS = 50_000
_MAX_DEPTH = 30
_REBUILT = {
    "collections OrderedDict",
    "torch Size",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_qtensor",
    "torch._utils _rebuild_tensor_v2",
}
"""Names that a checkpoint of this project may use, besides plain values, storages and types. PyTorch allows more, such
as `bytearray(10**12)`."""

_noted: set[Path] = set()
"""Files without a digest that a warning already named."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's access to the functions of this module."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save to `path`. After any failure the previous file is kept."""
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return the checked content of `path`. Callbacks that save beside it get its present folder."""
        return _moved(load_checkpoint(Path(path)), Path(path))


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint beside `path`, seal it, and move it into place.

    A full disk or a killed run leaves the previous file intact. Lightning's own save goes through `$TMPDIR`. If that is
    another file system, it is a plain copy.

    Raises:
        DiskFullError: the file does not fit on the disk.
        CheckpointError: the file cannot be written for another reason.
    """
    with stopping.held():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
        except OSError as error:
            raise _unwritten(content, path, error) from error
        temporary = Path(name)
        try:
            try:
                torch.save({**content, SEALED: True}, name)  # by name: an interrupt aborts a write to a file object
                _seal(temporary)
                os.fsync(descriptor)
            except (OSError, RuntimeError):
                os.truncate(descriptor, 0)  # an open file would keep its space
                raise
            finally:
                os.close(descriptor)  # Windows cannot move or remove an open file
            temporary.chmod(0o666 & ~_umask())  # the usual mode; a temporary file is only for its owner
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # PyTorch's writer reports a full disk as a wrong position
            temporary.unlink(missing_ok=True)
            raise _unwritten(content, path, error) from error
        finally:
            temporary.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a file that `save_checkpoint` or an earlier version wrote, without running anything in it.

    Declared sizes are compared with the file's size before anything is allocated.

    Raises:
        CheckpointError: the file is not there, is damaged, holds code, or declares more than it holds.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the checkpoint in it, such as {path}/checkpoints/best.ckpt")
    if not path.is_file():
        raise CheckpointError(f"{path} is not there; name a checkpoint, such as RUN/checkpoints/best.ckpt")
    try:
        sealed = _check_seal(path)
        _check_records(path, sealed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TypedStorage is deprecated", UserWarning)  # quantized tensors use it
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        _Owned(path).take(content)
    except pickle.UnpicklingError:
        raise _holds_code(path) from None
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise CheckpointError(
            f"{path} is truncated or damaged ({reason}); use another checkpoint, such as last.ckpt"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} is not a checkpoint of ecg_lightning; name one, such as RUN/checkpoints/best.ckpt"
        )
    if content.pop(SEALED, False) and not sealed:
        raise CheckpointError(f"{path} was changed after it was written: its digest is missing; use another checkpoint")
    if not sealed and path.resolve() not in _noted:
        _noted.add(path.resolve())
        log.warning(
            "%s was written by an earlier version and has no digest; only the checksums of its archive were verified",
            path,
        )
    return cast(dict[str, Any], content)


def _unwritten(content: Mapping[str, Any], path: Path, error: BaseException) -> UserError:
    needed = _n_bytes(content)
    kept = ". The previous file is kept" if path.exists() else ""
    folder = next(one for one in path.absolute().parents if one.exists())
    if is_full(error) or shutil.disk_usage(folder).free < needed:
        return DiskFullError(explain_full(path, needed) + kept)
    return CheckpointError(f"{path} cannot be written ({error}){kept}")


class _Counter(io.RawIOBase):
    """A file that only counts its bytes."""

    n_bytes = 0

    def writable(self) -> bool:
        """Return True, because the file can be written."""
        return True

    def write(self, content: Any) -> int:
        """Count the bytes of `content` and return their number."""
        length = len(memoryview(content).cast("B"))
        self.n_bytes += length
        return length


def _n_bytes(content: Mapping[str, Any]) -> int:
    """Return the length in bytes of a checkpoint's file."""
    counter = _Counter()
    torch.save({**content, SEALED: True}, counter)  # type: ignore[arg-type]  # any file object will do
    return counter.n_bytes + _SEAL_BYTES


def _umask() -> int:
    """Return the process's umask. The system reports it only when another one is set."""
    os.umask(mask := os.umask(0o077))
    return mask


def _seal(path: Path) -> None:
    """Write the SHA-256 of the whole file into the archive's comment, behind the part that other readers use."""
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(_SEAL_BYTES.to_bytes(2, "little"))
        digest = _digest(file, file.tell())
        file.write(_SEAL + digest)
        file.flush()


def _digest(file: BinaryIO, length: int) -> bytes:
    """Return the hexadecimal SHA-256 of a file's first bytes, and leave the file's position behind them."""
    file.seek(0)
    digest = hashlib.sha256()
    while length and (block := file.read(min(length, 1 << 20))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest().encode()


def _check_seal(path: Path) -> bool:
    """Return whether the file has a digest. An existing digest is compared with the content.

    Raises:
        CheckpointError: the file is not an archive, or its digest does not match.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _SEAL_BYTES - _END))
        tail = file.read()
        seal = tail[-_SEAL_BYTES:]
        if not seal.startswith(_SEAL):
            file.seek(0)
            is_archive = file.read(4) == b"PK\x03\x04"
            if not is_archive:
                raise CheckpointError(f"{path} is not a checkpoint; name one, such as RUN/checkpoints/best.ckpt")
            if tail[-_END:][:4] != b"PK\x05\x06":
                raise CheckpointError(f"{path} is truncated or damaged: its end is missing; use another checkpoint")
            return False
        if _digest(file, size - _SEAL_BYTES) != seal[len(_SEAL) :]:
            raise CheckpointError(
                f"{path} is damaged: its content does not match its digest (SHA-256); restore it from a copy, or "
                "remove it and train again"
            )
        return True


def _check_records(path: Path, sealed: bool) -> None:
    """Refuse an archive that would grow when it is read, or whose pickle makes objects that no checkpoint holds.

    Without a digest the archive's own checksums (CRC-32) must match. PyTorch writes them and does not read them.

    Raises:
        CheckpointError: the archive is refused.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _SEAL_BYTES - _END))
        tail = file.read()
    end = tail[tail.rfind(b"PK\x05\x06") :]
    if int.from_bytes(end[10:12], "little") > _MAX_RECORDS:
        raise CheckpointError(f"{path} is not a checkpoint of ecg_lightning: it has more than {_MAX_RECORDS:,} records")
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            if (
                any(one.compress_type != zipfile.ZIP_STORED for one in records)
                or sum(one.file_size for one in records) > size
            ):
                raise CheckpointError(f"{path} is not a checkpoint of ecg_lightning: it is compressed")
            pickles = [one for one in records if one.filename.endswith("data.pkl")]
            if len(pickles) != 1 or pickles[0].file_size > 1_000_000 + 2_000 * len(records):
                raise CheckpointError(f"{path} is not a checkpoint of ecg_lightning: its list of contents is too long")
            content = archive.read(pickles[0])
            if not sealed and (damaged := archive.testzip()):
                raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path} is truncated or damaged ({error}); use another checkpoint, such as last.ckpt"
        ) from None
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "GLOBAL" and not _is_allowed(str(argument)):
            raise _holds_code(path)


def _is_allowed(name: str) -> bool:
    module, _, attribute = name.partition(" ")
    if module == "torch" and isinstance(getattr(torch, attribute, None), torch.dtype | torch.qscheme):
        return True
    return name in _REBUILT or (module == "torch" and attribute.endswith("Storage"))


def _holds_code(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} holds objects that could run code, so it was not loaded. Use a checkpoint of ecg_lightning"
    )


class _Owned:
    """A copier of tensors out of the mapped file. It first checks that no more is declared than the file holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_left = 4 * path.stat().st_size  # tied weights are there twice
        self.values_left = 1_000_000

    def take(self, value: Any, depth: int = 0) -> Any:
        """Return the value with copied tensors. Containers are changed in place.

        Raises:
            CheckpointError: the value is too large, too deep, or of a type that no checkpoint holds.
        """
        self.values_left -= 1
        if depth > _MAX_DEPTH or self.values_left < 0:
            raise self._refused("its values are nested too deeply, or there are too many")
        if isinstance(value, Tensor):
            return self._copied(value)
        if isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, str | int | bool | float | None | tuple):
                    raise self._refused(f"a key is of type {type(key).__name__}")
                value[key] = self.take(item, depth + 1)
        elif isinstance(value, list):
            value[:] = [self.take(item, depth + 1) for item in value]
        elif type(value) is tuple:
            return tuple(self.take(item, depth + 1) for item in value)
        elif not isinstance(value, str | bytes | int | float | None | torch.dtype | torch.qscheme | torch.Size):
            raise self._refused(f"it holds a {type(value).__name__}")
        return value

    def _copied(self, tensor: Tensor) -> Tensor:
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_nested:
            raise self._refused(f"it holds a {tensor.layout} tensor on {tensor.device}")
        n_bytes = tensor.numel() * tensor.element_size()
        self.bytes_left -= n_bytes
        if n_bytes > tensor.untyped_storage().nbytes() or self.bytes_left < 0:
            raise self._refused(f"a tensor of the shape {tuple(tensor.shape)} is larger than the file")
        copied = tensor.detach().clone()
        return torch.nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else copied

    def _refused(self, why: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is not a checkpoint of ecg_lightning: {why}")


def _moved(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the checkpoint with its present folder in the state of callbacks that saved there before it was moved."""
    folder = str(path.resolve().parent)
    for state in checkpoint.get("callbacks", {}).values():
        if isinstance(state, dict) and isinstance(there := state.get("dirpath"), str) and there != folder:
            state |= {
                name: str(Path(folder, Path(value).name))
                for name, value in state.items()
                if isinstance(value, str) and value and name.endswith("_path")
            }
            best = state.get("best_k_models", {})
            state |= {
                "dirpath": folder,
                "best_k_models": {str(Path(folder, Path(one).name)): best[one] for one in best},
            }
    return checkpoint
