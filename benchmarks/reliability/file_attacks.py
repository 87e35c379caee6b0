"""Checkpoints, exported files, records, tables and arrays of a stranger."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch

from ecg_lightning.checkpoints.io import save_checkpoint
from reliability import products
from reliability.attack import Attack, Touch, run_dir
from reliability.products import Products
from reliability.programs import ecg_lightning, train


def checkpoints(folder: Path, made: Products, canary: Callable[[], Path]) -> Iterator[Attack]:
    """Pickles that run code, and descriptions that name other classes or folders to write."""
    uses: dict[str, Callable[[Path, Path], list[str]]] = {
        "evaluate": lambda file, path: train(f"ckpt_path={file}", *made.evaluation, run_dir(path)),
        "resume": lambda file, path: train(f"ckpt_path={file}", *made.settings, run_dir(path)),
        "weights": lambda file, path: train(f"model.weights={file}", *made.settings, run_dir(path)),
        "teacher": lambda file, path: train(f"model.teacher={file}", *made.settings, run_dir(path)),
        "members": lambda file, path: train(
            *(one for one in made.settings if not one.startswith("model")), "model=ensemble",
            f"model.members=[{file}]", run_dir(path),
        ),
        "compress": lambda file, path: products.export(file, Path(f"{path}.run")),
        "benchmark": lambda file, path: ecg_lightning("benchmark", str(file), "--rounds", "1"),
    }  # fmt: skip
    forms = ("zip", "legacy", "raw")
    for number, (use, command) in enumerate(uses.items()):
        for form in forms if use in ("evaluate", "compress") else (forms[number % 3],):
            path = canary()
            file = _malicious_checkpoint(folder, path, form)
            variables = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
            yield Attack("malicious pickles", f"{form}, {use}", command(file, path), path, True, variables)
    good = torch.load(made.checkpoint, weights_only=True)
    for number, target in enumerate(("os.system", "torch.load", "subprocess.check_output", "shutil.rmtree")):
        for part in ("model", "frontend", "stages"):
            path = canary()
            node = {"_target_": target, "command": f"touch '{path}'", "args": ["touch", str(path)], "path": str(path)}
            described = {**good["ecg_lightning"], part: [node] if part == "stages" else node}
            file = folder / f"{path.name}.ckpt"
            save_checkpoint({**good, "ecg_lightning": described}, file)
            use = ("evaluate", "compress")[number % 2]
            yield Attack("classes named in a checkpoint", f"{part}: {target}", uses[use](file, path), path, True)
    for target in ("SyntheticPTBXLDataModule", "PTBXLDataModule"):
        for use in ("compress", "evaluate", "teacher"):
            path = canary()
            data = {**good["ecg_lightning"]["data"], "root": str(path)}
            data |= {"_target_": f"ecg_lightning.data.datamodule.{target}", "n_records": 100}
            file = folder / f"{path.name}.ckpt"
            save_checkpoint({**good, "ecg_lightning": {**good["ecg_lightning"], "data": data}}, file)
            yield Attack("a checkpoint's data.root", f"{target}, {use}", uses[use](file, path), path)


def _malicious_checkpoint(folder: Path, canary: Path, form: str) -> Path:
    path = folder / f"{canary.name}.ckpt"
    content = {"state_dict": {}, "ecg_lightning": Touch(canary)}
    if form == "raw":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    return path


def model_files(folder: Path, made: Products, canary: Callable[[], Path]) -> Iterator[Attack]:
    """Exported files whose weights are said to lie elsewhere."""
    secret = folder / "secret.bin"
    secret.write_bytes(bytes(1 << 20))
    link = folder / "link.bin"
    link.symlink_to(secret)
    kind = "an exported file that names other files"
    for location in ("../secret.bin", str(secret), "link.bin", "/dev/zero", secret.as_uri(), "/etc/passwd"):
        for runtime in ("onnxruntime", "openvino"):
            path = canary()
            file = folder / path.name / "model.onnx"
            _external(made.onnx, file, location)
            (file.parent / "link.bin").symlink_to(secret)
            command = ecg_lightning("predict", str(made.record), "--model", str(file), "--runtime", runtime)
            yield Attack(kind, f"ONNX weights in {location}", command, path / "written", True)
    xml = next(made.exported.rglob("*.xml"), None)
    path = canary()
    file = folder / path.name / "model.xml"
    file.parent.mkdir()
    entity = '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    body = xml.read_text().partition("?>")[2] if xml else '<net name="&x;" version="11"><layers/></net>'
    file.write_text(entity + body.replace("<net ", "<net a='&x;' ", 1))
    yield Attack(
        kind, "an XML entity", ecg_lightning("predict", str(made.record), "--model", str(file)), path / "w", True
    )


def _external(source: Path, target: Path, location: str) -> None:
    """Copy an ONNX file, with its first weights said to lie at `location`."""
    model = onnx.load(source)
    tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    target.parent.mkdir(parents=True)
    target.write_bytes(model.SerializeToString())


def records(folder: Path, made: Products, canary: Callable[[], Path]) -> Iterator[Attack]:
    """Records and tables that name files elsewhere, and arrays of objects."""
    header = made.record.with_suffix(".hea").read_text()
    name, content = made.record.name, made.record.with_suffix(".dat").read_bytes()
    (folder / "outside.dat").write_bytes(content)
    kind = "names that lead out of the folder"
    for location in ("../outside.dat", str(folder / "outside.dat"), f"file://{folder}/outside.dat", "..\\outside.dat"):
        path = canary()
        record = folder / path.name / name
        record.parent.mkdir()
        record.with_suffix(".hea").write_text(header.replace(f"{name}.dat", location))
        command = ecg_lightning("predict", str(record), "--model", str(made.onnx))
        yield Attack(kind, f"a record's {location}", command, record.parent / "written", True)
    for location in ("../../outside", str(folder / "outside"), "records100/../../outside"):
        path = canary()
        root = Path(shutil.copytree(made.record.parents[2], folder / path.name))
        table = root / "ptbxl_database.csv"
        table.write_text(table.read_text().replace(f"records100/{made.record.parent.name}/{name}", location, 1))
        settings = [one for one in made.settings if not one.startswith("data.root")]
        command = train(*settings, f"data.root={root}", run_dir(path))
        yield Attack(kind, f"a table's {location}", command, root / "written", True)
    for number, objects in enumerate((np.array([Touch(Path("x"))] * 12), np.zeros((12, 1000), dtype=object))):
        path = canary()
        objects = objects.reshape(12, -1)
        objects[0, 0] = Touch(path)
        file = folder / f"objects{number}.npy"
        buffer = io.BytesIO()
        np.save(buffer, objects, allow_pickle=True)
        file.write_bytes(buffer.getvalue())
        command = ecg_lightning("predict", str(file), "--rate", "100", "--model", str(made.onnx))
        yield Attack("arrays of objects", file.name, command, path, True)
    path = canary()
    cached = Path(shutil.copytree(made.run.parent / "cache", folder / path.name))
    np.save(next(cached.rglob("signals-*.npy")), np.array([Touch(path / "written")]), allow_pickle=True)
    settings = [one for one in made.settings if not one.startswith("data.cache_dir")]
    command = train(*settings, f"data.cache_dir={cached}", run_dir(path))
    yield Attack("arrays of objects", "the cache", command, path / "written")
    path = canary()
    archive = folder / "archive.npy"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("arr_0.npy", (folder / "objects0.npy").read_bytes())
    command = ecg_lightning("predict", str(archive), "--rate", "100", "--model", str(made.onnx))
    yield Attack("arrays of objects", "an .npz as .npy", command, path, True)
