"""How far bfloat16, and on a CUDA device TF32, turn the first gradients of the one-dimensional networks.

    python benchmarks/bf16_gradients.py --root DIR [--accelerator cuda]

The cosine between the gradients of all weights for one batch of training records, in fp32 and with bfloat16's or
TF32's products; untrained weights, no dropout, one crop for all. The last column is fp32 once more: what the order of
sums does.
"""

from __future__ import annotations

import argparse

import torch
from _common import composed
from lightning.fabric.utilities import move_data_to_device

from ecg_lightning.checkpoints.building import build_classifier, build_datamodule
from ecg_lightning.config.schema import plain
from ecg_lightning.data.datamodule import ECGBatch
from ecg_lightning.models.classifier import ECGClassifier

MODELS = ("resnet1d_wang", "xresnet1d18", "xresnet1d50", "xresnet1d101", "inception1d", "s4d", "vit1d", "lstm")
N_RECORDS = 64


def gradients(classifier: ECGClassifier, batch: ECGBatch, products: str) -> torch.Tensor:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = products == "tf32"
    torch.manual_seed(0)
    classifier.zero_grad()
    with torch.autocast(batch.signals.device.type, torch.bfloat16, enabled=products == "bf16"):
        loss, _ = classifier.loss_and_logits(batch)
    loss.backward()
    return torch.cat([one.grad.flatten() for one in classifier.parameters() if one.grad is not None]).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, help="PTB-XL's folder")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    ways = ("bf16", "fp32") if arguments.accelerator == "cpu" else ("bf16", "tf32", "fp32")
    print(f"{'cosine to fp32':15}", *ways)
    for model in MODELS:
        cfg = composed(
            f"model={model}", "data=ptbxl", f"data.root={arguments.root}", "frontend/augmentation=none",
            "model.dropout=0", "model.drop_path=0",
        )  # fmt: skip
        datamodule = build_datamodule(plain(cfg.data), cfg.seed)
        datamodule.load(("train",))
        classifier = build_classifier(plain(cfg.model), plain(cfg.frontend), n_samples=datamodule.n_samples, seed=0)
        classifier.frontend.fit_normalization(datamodule.datasets["train"].mean_and_std)
        classifier.train().to(arguments.accelerator)
        loaded = datamodule.datasets["train"].__getitems__(list(range(N_RECORDS)))
        batch = move_data_to_device(loaded, torch.device(arguments.accelerator))
        fp32 = gradients(classifier, batch, "fp32")
        cosines = [torch.cosine_similarity(fp32, gradients(classifier, batch, way), dim=0).item() for way in ways]
        print(f"{model:15}", *(f"{cosine:.3f}" for cosine in cosines))


if __name__ == "__main__":
    main()
