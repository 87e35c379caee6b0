"""The bombs: records, tables, arrays, exported files, checkpoints, results and YAML."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from reliability.attack import run_dir
from reliability.products import Products
from reliability.programs import ecg_lightning, train

_GIGABYTE = 1 << 30


@dataclass(frozen=True)
class Bomb:
    """One bomb.

    Attributes:
        name: what it is.
        command: that reads it.
        good: the same command with a good file.
        must_fail: whether it cannot be answered at all.
    """

    name: str
    command: list[str]
    good: list[str]
    must_fail: bool = True


def _special_files(stem: Path, suffix: str) -> dict[str, Path]:
    """Files that are none: a link to a device without end, a pipe, a folder; and a sparse one of 3 GB."""
    found = {name: stem.with_name(f"{stem.name}-{name}{suffix}") for name in ("zero", "pipe", "folder", "sparse")}
    found["zero"].symlink_to("/dev/zero")
    os.mkfifo(found["pipe"])
    found["folder"].mkdir()
    with found["sparse"].open("wb") as file:
        file.truncate(3 * _GIGABYTE)
    return found


def record_bombs(folder: Path, made: Products) -> Iterator[Bomb]:
    """Records, .csv and .npy files for `predict`."""

    def predict(*what: str) -> list[str]:
        return ecg_lightning("predict", *what, "--model", str(made.onnx))

    good_header, content = (made.record.with_suffix(suffix).read_bytes() for suffix in (".hea", ".dat"))
    name = made.record.name
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

    def header(first: str, kind: str = "16") -> bytes:
        return "\n".join([first, *(f"r.dat {kind} 1000/mV 16 0 0 0 0 {lead}" for lead in leads)]).encode()

    headers = {
        "10^8 signals": b"r 100000000 100 1000\n",
        "10^9 signals": b"r 1000000000 100 1000\n",
        "10^9 signals and one line": b"r 1000000000 100 1000\nr.dat 16 1000/mV 16 0 0 0 0 I\n",
        "10^6 samples a frame": header("r 12 100 1000", "16x1000000"),
        "a skew of 10^9": header("r 12 100 1000", "16:1000000000"),
        "an offset of 10^15": header("r 12 100 1000", "16+1000000000000000"),
        "10^13 samples": header("r 12 100 10000000000000"),
        "10^400 samples": header("r 12 100 1" + "0" * 400),
        "a rate of 10^9": header("r 12 1000000000 1000"),
        "a rate of 10^-9": header("r 12 0.000000001 1000"),
        "a line of 80 MB": b"r 12 100 1000 " + b"#" * 80_000_000 + b"\n",
        "10^7 comment lines": good_header.replace(name.encode(), b"r") + b"#\n" * 10_000_000,
        "100,000 segments": b"r/100000 12 100 1000\n" + b"s 10\n" * 100_000,
        "a segment that is itself": b"r/1 12 100 1000\nr 1000\n",
    }
    for number, (what, text) in enumerate(headers.items()):
        record = folder / f"h{number}" / "r"
        record.parent.mkdir()
        record.with_suffix(".hea").write_bytes(text)
        record.with_suffix(".dat").write_bytes(content)
        is_good = what == "10^7 comment lines"
        yield Bomb(f"a header with {what}", predict(str(record)), predict(str(made.record)), not is_good)
    for part, other in ((".hea", ".dat"), (".dat", ".hea")):
        for what, path in _special_files(folder / f"special{part[1:]}", part).items():
            record = path.with_suffix("")
            text = good_header.replace(name.encode(), record.name.encode())
            record.with_suffix(other).write_bytes(text if other == ".hea" else content)
            yield Bomb(f"a {part} that is {what}", predict(str(record)), predict(str(made.record)))
    signals_CT = np.frombuffer(content, "<i2").reshape(-1, 12).T * 1e-3
    good_csv, good_npy = folder / "good.csv", folder / "good.npy"
    np.savetxt(good_csv, signals_CT.T, delimiter=",", header=",".join(leads), comments="")
    np.save(good_npy, signals_CT)
    row = ",".join(["0.1"] * 12).encode() + b"\n"
    tables = {
        "one line of 80 MB": b"1," * 40_000_000,
        "one line of 80 MB without a comma": b"1" * 80_000_000,
        "a name of 80 MB": b"I" * 80_000_000 + b"," + ",".join(leads[1:]).encode() + b"\n" + row * 1000,
        "10^6 columns": b",".join([b"1"] * 1_000_000) + b"\n" + row * 10,
        "80 MB of line ends": ",".join(leads).encode() + b"\n" * 80_000_000,
        "an open quote before 80 MB": ",".join(leads).encode() + b'\n"' + row * 2_000_000,
    }
    rate = ("--rate", "100")
    good_command = predict(str(good_csv), *rate)
    for number, (what, text) in enumerate(tables.items()):
        path = folder / f"table{number}.csv"
        path.write_bytes(text)
        yield Bomb(f"a .csv with {what}", predict(str(path), *rate), good_command)
    for suffix, good in ((".csv", good_csv), (".npy", good_npy)):
        for what, path in _special_files(folder / "special", suffix).items():
            yield Bomb(f"a {suffix} that is {what}", predict(str(path), *rate), predict(str(good), *rate))
    arrays = {
        "2^40 samples": _npy_header("<f4", (12, 1 << 40)),
        "2^62 samples": _npy_header("<f8", (1 << 62, 12)),
        "elements of 2^30 bytes": _npy_header("|S1073741824", (12, 1000)),
        "a header of 4 GB": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        "a header of brackets": b"\x93NUMPY\x02\x00" + (100_000).to_bytes(4, "little") + b"(" * 100_000,
        "a header of one number": b"\x93NUMPY\x02\x00" + (100_000).to_bytes(4, "little") + b"9" * 100_000,
    }
    for number, (what, text) in enumerate(arrays.items()):
        path = folder / f"array{number}.npy"
        with path.open("wb") as file:
            file.write(text)
            if "2^" in what or "4 GB" in what:
                file.truncate(len(text) + 6 * _GIGABYTE)
        yield Bomb(f"an .npy with {what}", predict(str(path), *rate), predict(str(good_npy), *rate))


def _npy_header(kind: str, shape: tuple[int, int]) -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def model_bombs(folder: Path, made: Products) -> Iterator[Bomb]:
    """Exported files for `predict` and `benchmark`."""
    record = str(made.record)
    good = {
        "predict": ecg_lightning("predict", record, "--model", str(made.onnx)),
        "benchmark": ecg_lightning("benchmark", str(made.onnx), "--rounds", "1"),
    }

    def both(what: str, path: Path) -> Iterator[Bomb]:
        """A bomb for each command; `benchmark` leaves a file's description alone."""
        commands = {
            "predict": ecg_lightning("predict", record, "--model", str(path)),
            "benchmark": ecg_lightning("benchmark", str(path), "--rounds", "1"),
        }
        for name, command in commands.items():
            yield Bomb(f"{name}: {what}", command, good[name], name == "predict" or "a description" not in what)

    changes: dict[str, Callable[[dict[str, object]], object]] = {
        "a rate of 10^9": lambda about: about.update(sampling_rate=10**9),
        "a rate of 10^300": lambda about: about.update(sampling_rate=10**300),
        "2 * 10^9 samples": lambda about: about.update(n_samples=2 * 10**9),
        "10^6 classes": lambda about: about.update(
            classes=[f"c{one}" for one in range(10**6)], thresholds=[0.5] * 10**6, output_thresholds=[0.5] * 10**6
        ),
        "a class of 50 MB": lambda about: about.update(classes=["x" * 50_000_000, *"ABCD"]),
    }
    for number, (what, change) in enumerate(changes.items()):
        path = folder / f"about{number}.onnx"
        _edit_onnx(made.onnx, path, change)
        yield from both(f"a description with {what}", path)
    for number, n_samples in enumerate((2 * 10**9, 1 << 40, -1)):
        path = folder / f"input{number}.onnx"
        about_samples = (
            (lambda about, n_samples=n_samples: about.update(n_samples=n_samples)) if n_samples > 0 else None
        )
        _edit_onnx(made.onnx, path, about_samples, n_samples)
        yield from both(f"an input of {n_samples} samples", path)
    deep = folder / "deep.onnx"
    _edit_onnx(made.onnx, deep, None, text="[" * 1_000_000)
    yield from both("a description of brackets", deep)
    for what in ("ConstantOfShape", "Expand", "Loop"):
        grown = folder / f"{what}.onnx"
        _grow_onnx(made.onnx, grown, what)
        yield from both(f"a graph with {what} that asks for 17 GB or 2^40 rounds", grown)
    for suffix in (".onnx", ".xml"):
        for what, path in _special_files(folder / "model", suffix).items():
            yield from both(f"an {suffix} that is {what}", path)
    laughs = folder / "laughs.xml"
    entities = "".join(f'<!ENTITY l{one} "{f"&l{one - 1};" * 10}">' for one in range(1, 12))
    laughs.write_text(f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY l0 "ha">{entities}]><net name="&l11;"/>')
    yield from both("an .xml of a billion laughs", laughs)
    nested = folder / "nested.xml"
    nested.write_text("<net>" + "<a>" * 2_000_000)
    yield from both("an .xml of 2,000,000 levels", nested)


def _edit_onnx(
    source: Path,
    target: Path,
    change: Callable[[dict[str, object]], object] | None,
    n_samples: int | None = None,
    text: str | None = None,
) -> None:
    """Copy an exported file with another description, or another length of its input."""
    model = onnx.load(source)
    entry = next(one for one in model.metadata_props if one.key == "ecg_lightning")
    if change:
        about = json.loads(entry.value)
        change(about)
        entry.value = json.dumps(about)
    if text is not None:
        entry.value = text
    if n_samples is not None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = n_samples
    target.write_bytes(model.SerializeToString())


def _grow_onnx(source: Path, target: Path, kind: str) -> None:
    """Copy an exported file with one more operation, whose result is summed and added to the logits."""
    model, node = onnx.load(source), onnx.helper.make_node
    shape = np.array([2**31 if kind != "Loop" else 2**40])
    model.graph.initializer.append(onnx.numpy_helper.from_array(shape.squeeze() if kind == "Loop" else shape, "size"))
    first = node("ReduceMax", ["millivolts"], ["first"], keepdims=0)
    if kind == "Loop":
        value = onnx.helper.make_tensor_value_info
        inputs = [value("round", onnx.TensorProto.INT64, []), value("go", onnx.TensorProto.BOOL, [])]
        outputs = [value("same", onnx.TensorProto.BOOL, []), value("one", onnx.TensorProto.FLOAT, [])]
        body = [node("Identity", ["go"], ["same"]), node("Identity", ["first"], ["one"])]
        grow = node("Loop", ["size", ""], ["grown"], body=onnx.helper.make_graph(body, "body", inputs, outputs))
    else:
        grow = node(kind, ["size"] if kind == "ConstantOfShape" else ["first", "size"], ["grown"])
    for each in model.graph.node:
        each.output[:] = ["own" if name == "logits" else name for name in each.output]
    summed = node("ReduceSum", ["grown"], ["sum"], keepdims=0)
    model.graph.node.extend([first, grow, summed, node("Add", ["own", "sum"], ["logits"])])
    target.write_bytes(model.SerializeToString())


def checkpoint_bombs(folder: Path, made: Products) -> Iterator[Bomb]:
    """Checkpoints and weights for `train.py` and `compress.py`."""
    good = [*train(*made.evaluation), f"ckpt_path={made.checkpoint}", f"hydra.run.dir={folder}/good-${{now:%H%M%S%f}}"]
    content = torch.load(made.checkpoint, weights_only=True)
    plain = {name: value for name, value in content.items() if name in ("state_dict", "ecg_lightning")}
    first = next(iter(plain["state_dict"]))
    large = {**plain, "state_dict": {**plain["state_dict"], first: torch.zeros(1).expand(1 << 40)}}
    torch.save(large, folder / "expanded.ckpt")
    described = plain["ecg_lightning"]
    settings = {"channels": 10**7, "kernel_size": 10**9, "blocks": [10**7]}
    for name, value in settings.items():
        model = {**described["model"], name: value}
        torch.save({**plain, "ecg_lightning": {**described, "model": model}}, folder / f"{name}.ckpt")
    torch.save({**plain, "ecg_lightning": {**described, "n_samples": 10**12}}, folder / "samples.ckpt")
    _zip_bomb(made.checkpoint, folder / "zip.ckpt")
    paths = [folder / f"{name}.ckpt" for name in ("expanded", *settings, "zip")]
    files = {path.stem: path for path in paths} | _special_files(folder / "special", ".ckpt")
    files["samples"] = folder / "samples.ckpt"
    for number, (what, path) in enumerate(files.items()):
        command = train(f"ckpt_path={path}", *made.evaluation, run_dir(folder / f"evaluated{number}"))
        yield Bomb(f"a checkpoint that is {what}", command, good, what != "samples")
    header = (1 << 60).to_bytes(8, "little") + b"{}"
    weights = folder / "weights.safetensors"
    weights.write_bytes(header)
    command = train(f"model.weights={weights}", *made.settings, run_dir(folder / "weights-run"))
    yield Bomb("weights with a header of 2^60 bytes", command, good)


def _zip_bomb(source: Path, target: Path) -> None:
    """Copy a checkpoint with a storage of 6 GB of zeros, compressed."""
    zeros = bytes(64 << 20)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            if entry.filename.endswith("/data/0"):
                with new.open(entry.filename, "w", force_zip64=True) as file:
                    for _ in range(96):
                        file.write(zeros)
            else:
                new.writestr(entry.filename, old.read(entry))


def result_bombs(folder: Path, made: Products) -> Iterator[Bomb]:
    """A run's files for `evaluate`."""
    good = ecg_lightning("evaluate", str(made.run), "--resamples", "100")
    texts = {
        "result.json": {"brackets": b"[" * 5_000_000, "one number": b'{"seed": ' + b"9" * 5_000_000 + b"}"},
        "predictions.csv": {"one line": b"1," * 40_000_000},
        "config.yaml": {"aliases": _aliases().encode(), "brackets": b"[" * 1_000_000},
    }
    for name, contents in texts.items():
        for what, text in contents.items():
            run = Path(shutil.copytree(made.run, folder / f"{name}-{what.replace(' ', '-')}"))
            (run / name).write_bytes(text)
            yield Bomb(f"a {name} of {what}", ecg_lightning("evaluate", str(run), "--resamples", "100"), good)
        for what, special in _special_files(folder / f"of-{name}", "").items():
            run = Path(shutil.copytree(made.run, folder / f"{name}-{what}"))
            (run / name).unlink()
            special.rename(run / name)
            yield Bomb(f"a {name} that is {what}", ecg_lightning("evaluate", str(run), "--resamples", "100"), good)


def yaml_bombs(folder: Path, made: Products) -> Iterator[Bomb]:
    """Configurations for `--config-dir`."""
    good = train(*made.settings, "--cfg", "job")
    texts = {
        "10^8 aliases": "# @package _global_\n" + _aliases(),
        "10^6 brackets": "x: " + "[" * 1_000_000,
        "10^6 keys": "# @package _global_\n" + "".join(f"k{one}: 1\n" for one in range(10**6)),
        "10^5 levels": "# @package _global_\n" + "x: " + "{a: " * 100_000 + "1" + "}" * 100_000,
        "a number of 10^6 digits": "seed: " + "9" * 1_000_000,
    }
    for number, (what, text) in enumerate(texts.items()):
        conf = folder / f"conf{number}"
        (conf / "experiment").mkdir(parents=True)
        (conf / "experiment" / "bomb.yaml").write_text(text)
        command = train("--config-dir", str(conf), *made.settings, "experiment=bomb", "--cfg", "job")
        yield Bomb(f"YAML with {what}", command, good)


def _aliases() -> str:
    """YAML of a few hundred bytes that stands for 10^8 values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{one}: &a{one} [{', '.join([f'*a{one - 1}'] * 10)}]" for one in range(1, 8)]
    return "\n".join(lines) + "\n"
