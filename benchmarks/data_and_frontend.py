"""Reading, loading and the matrix front end against what a user would write instead.

    python benchmarks/data_and_frontend.py --output benchmarks/results/data_and_frontend.json

The records are synthetic (same bytes layout as PTB-XL's), the page cache is warm, one thread.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
import wfdb
from _common import interleave, report
from torchvision import transforms

from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.data.synthetic import write_synthetic_ptbxl
from ecg_lightning.data.wfdb import RecordReader
from ecg_lightning.frontend.matrix import MatrixFrontend
from ecg_lightning.frontend.schema import MatrixConfig


def reading(root: Path, names: list[str]) -> list[dict[str, object]]:
    paths = [f"{root}/{name}" for name in names]
    out = np.empty((len(paths), 12, 1000), dtype="<i2")
    few = paths[:100]

    def read(reader: RecordReader, repeats: int) -> None:
        for _ in range(repeats):
            for path, row in zip(paths, out, strict=True):
                reader.read_into(path, row)

    verified, unverified = RecordReader(100), RecordReader(100, verify=False)
    seconds = interleave(
        {
            "wfdb": lambda: [wfdb.rdsamp(path) for path in few],
            "verified": lambda: read(verified, 5),
            "unverified": lambda: read(unverified, 5),
        }
    )
    rate = {
        "wfdb.rdsamp": len(few) / seconds["wfdb"],
        "read + verified": 5 * len(paths) / seconds["verified"],
        "read, size alone checked": 5 * len(paths) / seconds["unverified"],
    }
    return [
        {"what": "reading", "way": way, "records_per_s": value, "ratio": value / rate["wfdb.rdsamp"]}
        for way, value in rate.items()
    ]


def loading(root: Path, names: list[str], cache: Path) -> list[dict[str, object]]:
    module = PTBXLDataModule(root, batch_size=32, cache_dir=cache)
    module.load(("train", "val"))
    loader = module.train_dataloader()
    batches = len(loader)
    resize = transforms.Compose([transforms.ToTensor(), transforms.Resize((182, 256)), transforms.Normalize(0.5, 0.5)])

    def per_sample() -> torch.Tensor:
        return torch.stack([resize(wfdb.rdsamp(f"{root}/{name}")[0]).float() for name in names[:32]])

    in_memory = [wfdb.rdsamp(f"{root}/{name}")[0] for name in names[:32]]  # float64, as in the original student project

    def resized() -> torch.Tensor:
        return torch.stack([resize(matrix).float() for matrix in in_memory])

    seconds = interleave(
        {
            "per sample": per_sample,
            "resize": resized,
            "whole batch": lambda: [None for _ in itertools.chain.from_iterable([loader] * 5)],
        }
    )
    ours = seconds["whole batch"] / (5 * batches)
    rows = (
        ("rdsamp + resize per sample", seconds["per sample"]),
        ("all signals in memory, resize per sample", seconds["resize"]),
        ("int16 cache, whole batch", ours),
    )
    return [
        {"what": "a loaded batch of 32", "way": way, "ms": 1e3 * value, "ratio": seconds["per sample"] / value}
        for way, value in rows
    ]


def frontend() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    # As after a training step: once a larger tensor was freed, the allocator keeps its pages.
    freed = torch.ones(7_500_000)
    del freed
    signals = torch.randint(-2000, 2000, (32, 12, 1000), dtype=torch.int16)
    matrices = [(signal.T.double() / 1000).numpy() for signal in signals]
    for size, channels in (((182, 256), 1), ((224, 224), 3), ((64, 512), 1)):
        to_image = transforms.Compose(
            [
                transforms.ToTensor(),
                transforms.Resize(size),
                *([transforms.Lambda(lambda x: x.repeat(3, 1, 1))] * (channels == 3)),
            ]
        )
        normalise = transforms.Normalize([0.5] * channels, [0.5] * channels)
        settings = MatrixConfig(size=size, rows="time", channels=channels, normalization="fixed", mean=0.5, std=0.5)
        module = MatrixFrontend(settings, 1000).eval()

        def per_sample(to_image=to_image, normalise=normalise):
            return torch.stack([normalise(to_image(matrix)).float() for matrix in matrices])

        def batched(module=module):
            return module(signals)

        error = float((per_sample() - batched()).abs().max())
        seconds = interleave(
            {"per sample": per_sample, "batched": lambda batched=batched: [batched() for _ in range(5)]}, 7
        )
        ratio = 5 * seconds["per sample"] / seconds["batched"]
        shape = f"{channels}x{size[0]}x{size[1]}"
        rows.append(
            {
                "what": f"front end {shape}",
                "way": "torchvision per sample",
                "ms": 1e3 * seconds["per sample"],
                "ratio": 1.0,
            }
        )
        rows.append(
            {
                "what": f"front end {shape}",
                "way": "matrix products",
                "ms": 200 * seconds["batched"],
                "ratio": ratio,
                "max_error": error,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        write_synthetic_ptbxl(root, n_records=2000, seed=0)
        names = sorted(str(path.relative_to(root).with_suffix("")) for path in root.glob("records100/*/*.hea"))
        rows = [*reading(root, names), *loading(root, names, Path(folder) / "cache"), *frontend()]
    report("data_and_frontend", rows, arguments.output)


if __name__ == "__main__":
    main()
