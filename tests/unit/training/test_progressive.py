"""Progressive resizing, against algorithm 1 of Tan & Le 2021."""

from types import SimpleNamespace

import pytest
import torch
from tiny import build_tiny

from ecg_lightning.errors import ConfigError
from ecg_lightning.training.progressive import ProgressiveResizing

SIGNALS = torch.zeros(2, 12, 1000, dtype=torch.int16)


def _epochs(callback, classifier, n_epochs):
    """Yield (number, size that the network got in training, size in evaluation) of each epoch."""
    seen = []
    trainer = SimpleNamespace(current_epoch=0, max_epochs=n_epochs)
    callback.on_fit_start(trainer, classifier)
    inner = next(classifier.network.children())
    hook = inner.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[2:])))
    for trainer.current_epoch in range(n_epochs):
        callback.on_train_batch_start(trainer, classifier, None, 0)
        classifier.train()(SIGNALS)
        classifier.eval()(SIGNALS)
        yield trainer.current_epoch, seen[-2], seen[-1]
    hook.remove()


def test_images_and_dropout_grow_linearly_over_the_stages(configure):
    classifier = build_tiny(configure, "convnext", "frontend.size=[64,128]", "model.dropout=0.4")
    dropout = classifier.network.head.drop
    callback = ProgressiveResizing(first_size=0.5, first_dropout=0.25, stages=3)
    sizes, shares = [], []
    for _, trained, evaluated in _epochs(callback, classifier, 7):
        assert evaluated == (64, 128)
        sizes.append(trained)
        shares.append(dropout.p)
    assert sizes == [(32, 64)] * 3 + [(48, 96)] * 2 + [(64, 128)] * 2
    assert shares == pytest.approx([0.1] * 3 + [0.25] * 2 + [0.4] * 2)


def test_dropout_that_is_no_module_grows_as_well(configure):
    classifier = build_tiny(configure, "resnet10t", "model.dropout=0.3")
    for epoch, _, _ in _epochs(ProgressiveResizing(), classifier, 4):
        assert classifier.network.drop_rate == pytest.approx(0.3 * (0.33 + 0.67 * epoch / 3))


def test_images_are_antialiased_means(configure):
    classifier = build_tiny(configure, "convnext", "frontend.size=64")
    callback = ProgressiveResizing(first_size=0.5, stages=2)
    next(_epochs(callback, classifier, 2))
    checkerboard = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    (small,) = callback._resized(classifier.network.train(), (checkerboard[None, None].float(),))
    assert small.shape == (1, 1, 32, 32)
    assert torch.allclose(small[..., 2:-2, 2:-2], torch.tensor(0.5), atol=1e-6)


def test_the_network_is_given_back_as_it_was(configure):
    classifier = build_tiny(configure, "convnext", "model.dropout=0.4")
    callback = ProgressiveResizing(first_size=0.5)
    next(_epochs(callback, classifier, 4))
    callback.teardown(None, classifier, "fit")
    assert classifier.network.head.drop.p == 0.4
    assert not classifier.network._forward_pre_hooks
    images = torch.zeros(1, 1, 64, 64)
    assert callback._resized(classifier.network.train(), (images,)) is None


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("vit", "VisionTransformer does not accept the first stage's 28 × 28 pixels"),
        ("deit", "does not accept the first stage's 28 × 28 pixels"),
        ("resnet1d_wang", "the front end makes a signal of 12 × 1000. Use frontend=matrix"),
    ],
)
def test_networks_of_one_size_are_refused(configure, model, said):
    with pytest.raises(ConfigError, match=said):
        ProgressiveResizing().on_fit_start(None, build_tiny(configure, model))


def test_a_trial_leaves_the_network_as_it_was(configure):
    classifier = build_tiny(configure, "resnet10t").train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    ProgressiveResizing().on_fit_start(None, classifier)
    assert all(module.training for module in classifier.network.modules())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


@pytest.mark.parametrize("settings", [{"first_size": 0.0}, {"first_size": 1.5}, {"first_dropout": -1.0}, {"stages": 1}])
def test_settings_that_are_no_stages_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        ProgressiveResizing(**settings)
