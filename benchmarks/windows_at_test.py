"""Which windows of a record to average at test: what a cross-validation's models say of the records that they held out.

    python benchmarks/windows_at_test.py CROSS_VALIDATION --root DIR

Each record's windows are predicted once, every 0.25 s; differences are paired, by patient, to the benchmark's stride
with the mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ecg_lightning.checkpoints.loading import load_classifier
from ecg_lightning.data.datamodule import TASK_KEYS, PTBXLDataModule
from ecg_lightning.data.folds import fold_groups, folder_name
from ecg_lightning.evaluation import paired
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.predictions import Predictions, pooled, predictions_of
from ecg_lightning.models.windows import Windows, logit_of_mean
from ecg_lightning.results.results import read_config

FINEST_S, STRIDES_S, REFERENCE = 0.25, (1.25, 2.5, 0.5, 0.25), (1.25, "mean")


def held_out(run: Path, folds: list[int], root: Path) -> dict[tuple[float, str], Predictions]:
    """By stride and aggregate, what one of the trainings says of its own held-out folds."""
    classifier = load_classifier(run / folder_name(folds) / "checkpoints" / "best.ckpt")
    others = [fold for fold in range(1, 9) if fold not in folds]
    task = {name: classifier.description[name] for name in TASK_KEYS}
    data = PTBXLDataModule(root=root, train_folds=others, val_folds=folds, test_folds=[10], **task)
    data.load(("val",))
    dataset, windows = data.datasets["val"], classifier.network
    if not isinstance(windows, Windows):
        raise SystemExit(f"{run}: its models see the whole record; name a cross-validation of models on windows")
    windows.stride_s = FINEST_S
    with torch.inference_mode():
        batches = (dataset.__getitems__(rows.tolist()).signals for rows in torch.arange(len(dataset)).split(64))
        logits = [torch.stack([windows.network(one) for one in windows.cut(classifier.frontend(b))]) for b in batches]
    logits_WNC = torch.cat(logits, dim=1)
    found = {}
    for stride_s in STRIDES_S:
        chosen_WNC = logits_WNC[:: round(stride_s / FINEST_S)]
        for aggregate, logits_NC in (("mean", logit_of_mean(chosen_WNC)), ("max", chosen_WNC.amax(dim=0))):
            predicted = predictions_of(classifier.classes, classifier.link, dataset, logits_NC.double().numpy())
            found[stride_s, aggregate] = predicted
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    groups = fold_groups(read_config(arguments.run)["cross_validation"])
    parts = [held_out(arguments.run, folds, arguments.root) for folds in groups]
    ways = {way: pooled([part[way] for part in parts]) for way in parts[0]}
    like = ways[REFERENCE]
    scores = {way: paired.score([(Choices.fit(one), one)], like) for way, one in ways.items()}
    print(f"{len(like.ecg_ids):,} records; AUROC, Δ, F1, Δ")
    for (stride_s, aggregate), one in scores.items():
        change = paired.compare(one, scores[REFERENCE])
        values = (paired.mean_interval(one.auroc), change.auroc, paired.mean_interval(one.f1), change.f1)
        cells = "  ".join(f"{value:+.4f} [{low:+.4f}, {high:+.4f}]" for value, low, high in values)
        print(f"every {stride_s:4} s, {aggregate:4}  {cells}")


if __name__ == "__main__":
    main()
