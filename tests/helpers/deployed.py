"""Tiny models as they are deployed, for the tests of files, runtimes and predictions."""

import json

import numpy as np
import torch
from tiny import build_tiny

from ecg_lightning.data.wfdb import LEADS
from ecg_lightning.deployment.export import DeployedNetwork, export_onnx, export_openvino
from ecg_lightning.deployment.metadata import Metadata, parse, write_metadata

CLASSES = ("CD", "HYP", "MI", "NORM", "STTC")


def tiny_classifier(configure, model, *overrides):
    """A classifier whose logits spread, so that comparing them says something."""
    classifier = build_tiny(configure, model, *overrides).eval()
    with torch.no_grad():
        for parameter in classifier.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        classifier.frontend.mean.normal_(0, 0.1)
        classifier.frontend.std.uniform_(0.5, 2)
    return classifier


def deployed(classifier):
    return DeployedNetwork(classifier.frontend, classifier.network, classifier.loss)


def describe(**changes) -> Metadata:
    """The metadata in a file that holds these values."""
    values = {
        "classes": CLASSES,
        "thresholds": (0.5, 0.4, 0.3, 0.6, 0.5),
        "output_thresholds": (0.5, 0.35, 0.25, 0.65, 0.5),
        "temperature": 1.5,
        "conformal": ((0.3, 0.6),) * 5,
        "sampling_rate": 100,
        "n_samples": 1000,
        "label_rule": "benchmark",
        "link": "sigmoid",
        "checkpoint_sha256": "0" * 64,
        "model": "vit",
        "precision": "fp32",
        "runtime": "onnxruntime",
        "compression": (),
        "data_licence": "",
        "leads": LEADS,
        "units": "mV",
        "format": 1,
        "version": "0.1.0",
    }
    return parse(json.loads(json.dumps({**values, **changes})))


def export_tiny(configure, folder, model="vit", **description):
    """model.onnx and model.xml of one tiny model, each with its description; and the module itself."""
    module = deployed(tiny_classifier(configure, model))
    onnx = export_onnx(module, folder / "model.onnx", 12, 1000)
    xml = export_openvino(onnx, folder / "model.xml")
    for path in (onnx, xml):
        write_metadata(path, describe(model=model, **description))
    return module, onnx, xml


def signals(n=3):
    """(n, 12, 1000) float32, about as large as mV are."""
    return np.random.default_rng(1).normal(scale=0.5, size=(n, 12, 1000)).astype(np.float32)


def outputs(module, millivolts):
    """Logits and probabilities in torch."""
    with torch.no_grad():
        return [output.numpy() for output in module(torch.from_numpy(millivolts))]


def assert_missing_samples_give_nan(opened, n_samples=1000):
    """The record alone that has them; the others keep every bit, as beside a record of zeros."""
    clean = np.random.default_rng(2).normal(scale=0.5, size=(4, 12, n_samples)).astype(np.float32)
    clean[1] = 0
    expected = opened.logits(clean).copy()
    assert np.isfinite(expected).all()
    part, whole = (6, slice(300, 600)), (slice(None), slice(None))
    for value, where in ((np.nan, part), (np.inf, (0, 0)), (-np.inf, (11, -1)), (np.nan, whole)):
        damaged = clean.copy()
        damaged[(1, *where)] = value
        found = opened.logits(damaged)
        assert np.isnan(found[1]).all(), (opened.name, opened.precision, value, found[1])
        assert np.array_equal(found[[0, 2, 3]], expected[[0, 2, 3]])
