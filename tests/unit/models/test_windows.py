"""The benchmark's protocol, against cases worked by hand."""

import math

import pytest
import torch
from torch import nn

from ecg_lightning.checkpoints.building import build_classifier
from ecg_lightning.errors import ConfigError
from ecg_lightning.models.windows import Windows, random_crop, window_samples, window_starts


class First(nn.Module):
    """The first sample of leads 0 and 1, as logits."""

    def forward(self, signals_BCT):
        assert signals_BCT.shape[2] == 250
        return signals_BCT[:, :2, 0]


def _ramp(n_records=1):
    """Sample t of lead c holds (t + 1000 c) / 100."""
    return (torch.arange(1000.0) + 1000 * torch.arange(12.0)[:, None]).div(100).expand(n_records, 12, 1000)


def test_seven_windows_of_a_record():
    assert window_starts(1000, 250, 125) == [0, 125, 250, 375, 500, 625, 750]
    assert window_starts(5000, 1250, 625) == [5 * first for first in (0, 125, 250, 375, 500, 625, 750)]
    assert (window_samples(2.5, 1000), window_samples(2.5, 5000), window_samples(1e-9, 1000)) == (250, 1250, 1)
    assert window_starts(1000, 1000, 500) == [0]


def test_the_maximum_and_the_mean_of_probabilities():
    starts = torch.tensor([0.0, 125, 250, 375, 500, 625, 750]) / 100
    highest = Windows(First(), 2.5, 1.25, "max").eval()(_ramp())
    assert torch.equal(highest, torch.tensor([[7.5, 17.5]]))
    mean = Windows(First(), 2.5, 1.25, "mean").eval()(_ramp())
    assert mean.sigmoid()[0, 0] == pytest.approx(float(starts.sigmoid().mean()), abs=1e-6)
    far = Windows(First(), 2.5, 1.25, "mean").eval()(-100 * _ramp())  # where a probability is 0 in float32
    assert far[0, 0] == pytest.approx(-math.log(13))  # 0.5 in one window of seven, 0 in the others: 1/14
    assert torch.isfinite(far).all()


def test_training_sees_one_crop_of_each_record_anywhere():
    torch.manual_seed(0)
    network = Windows(First(), 2.5, 1.25, "max").train()
    starts = torch.cat([network(_ramp(64))[:, 0] * 100 for _ in range(100)]).round()
    assert starts.min() == 0
    assert starts.max() == 750
    assert len(starts.unique()) > 700
    crops = random_crop(_ramp(3), 250)
    assert crops.shape == (3, 12, 250)
    assert torch.allclose(crops.diff(dim=2), torch.tensor(0.01), atol=1e-4)
    assert torch.allclose(crops.diff(dim=1), torch.tensor(10.0), atol=1e-4)  # all leads from one place


def test_softmax_has_no_windows(configure):
    cfg = configure("model=resnet1d_wang", "model.loss=argmax_cross_entropy")
    with pytest.raises(ConfigError, match=r"Set model\.loss=bce, or model\.window_s=null"):
        build_classifier(cfg.model, cfg.frontend, n_samples=1000, seed=0)


def test_the_protocol_is_the_published_one(configure):
    cfg = configure("experiment=benchmark_xresnet1d101")
    model = cfg.model
    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.scored_epoch) == (128, 50, "last")
    assert (model.window_s, model.stride_s, model.aggregate) == (2.5, 1.25, "max")
    assert (model.optimizer.lr, model.optimizer.weight_decay, model.scheduler.name) == (1e-2, 1e-2, "one_cycle")
    assert not any(vars(cfg.frontend.augmentation).values())
    assert (cfg.frontend.normalization, cfg.callbacks.early_stopping, model.variant) == ("global", None, "101")
