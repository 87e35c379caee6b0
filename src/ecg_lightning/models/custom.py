"""A network of the user's own. A function in a package that the user trusts makes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecg_lightning.components.trust import explain_foreign, load_reference
from ecg_lightning.errors import ForeignCodeError, UserError
from ecg_lightning.frontend.input_spec import InputSpec
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import CustomConfig


class Custom(ECGClassifier):
    """The network that `model.network=package.module:function` makes. `trust` decides which packages may run."""

    @staticmethod
    def make_network(settings: CustomConfig, input: InputSpec, n_classes: int) -> nn.Module:
        """Return the network that the user's function makes, after a trial on two records.

        Raises:
            UntrustedCodeError: the user does not trust the function's package.
            ForeignCodeError: there is no such function, or it makes no network for this input and these classes.
        """
        make = load_reference(settings.network, "model.network")
        subject = f"model.network={settings.network}"
        if not callable(make):
            raise ForeignCodeError(f"{subject}: this is of the type {type(make).__name__}. Name a function")
        try:
            network = make(input, n_classes, **settings.arguments)
        except UserError:
            raise  # such as those of `InputSpec`
        except Exception as error:  # code of others may raise anything
            raise ForeignCodeError(f"{subject} failed ({explain_foreign(error)})") from None
        if not isinstance(network, nn.Module):
            raise ForeignCodeError(
                f"{subject} returned an object of the type {type(network).__name__}. It must return an nn.Module"
            )
        _check_output(network, input, n_classes, subject)
        return network


def _check_output(network: nn.Module, input: InputSpec, n_classes: int, subject: str) -> None:
    """Refuse a network that does not return (B, C) logits. It is tried on zeros, in evaluation mode.

    Raises:
        ForeignCodeError: the network fails, or returns something else.
    """
    was_training = network.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network.eval()(torch.zeros(2, *input.shape))
    except Exception as error:  # code of others may raise anything
        raise ForeignCodeError(
            f"{subject}: the network failed on a batch of {(2, *input.shape)} ({explain_foreign(error)})"
        ) from None
    network.train(was_training)
    given = f"the shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    if not isinstance(logits, Tensor) or logits.shape != (2, n_classes) or not logits.is_floating_point():
        raise ForeignCodeError(
            f"{subject}: of a batch of {(2, *input.shape)} the network makes {given}. It must make floating-point "
            f"logits of the shape {(2, n_classes)}"
        )
