"""How far bfloat16 turns the first gradients of the one-dimensional networks.

    python benchmarks/bf16_gradients.py --root DIR

The cosine between the gradients of all weights for one batch of training records, in fp32 and with bfloat16's products;
untrained weights, no dropout, one crop for both.
"""

from __future__ import annotations

import argparse

import torch
from _common import composed

from ecg_lightning.building import build_classifier, build_datamodule
from ecg_lightning.config import plain
from ecg_lightning.data.datamodule import ECGBatch
from ecg_lightning.models.classifier import ECGClassifier

MODELS = ("resnet1d_wang", "xresnet1d18", "xresnet1d50", "xresnet1d101", "inception1d", "s4d", "vit1d", "lstm")
N_RECORDS = 64


def gradients(classifier: ECGClassifier, batch: ECGBatch, bf16: bool) -> torch.Tensor:
    torch.manual_seed(0)
    classifier.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, _ = classifier.loss_and_logits(batch)
    loss.backward()
    return torch.cat([one.grad.flatten() for one in classifier.parameters() if one.grad is not None]).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, help="PTB-XL's folder")
    root = parser.parse_args().root
    for model in MODELS:
        cfg = composed(
            f"model={model}", "data=ptbxl", f"data.root={root}", "frontend/augmentation=none",
            "model.dropout=0", "model.drop_path=0",
        )  # fmt: skip
        datamodule = build_datamodule(plain(cfg.data), cfg.seed)
        datamodule.load(("train",))
        classifier = build_classifier(plain(cfg.model), plain(cfg.frontend), n_samples=datamodule.n_samples, seed=0)
        classifier.frontend.fit_normalization(datamodule.datasets["train"].mean_and_std)
        batch = datamodule.datasets["train"].__getitems__(list(range(N_RECORDS)))
        fp32, bf16 = (gradients(classifier.train(), batch, precise) for precise in (False, True))
        print(f"{model:15} {torch.cosine_similarity(fp32, bf16, dim=0).item():.3f}")


if __name__ == "__main__":
    main()
