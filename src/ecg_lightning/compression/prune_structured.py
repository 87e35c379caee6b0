"""Structured pruning: whole channels are removed, so every runtime gets a smaller dense network."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from ecg_lightning.compression.schema import PruneStructuredConfig
from ecg_lightning.compression.stage import CompressionStage, StageContext
from ecg_lightning.compression.tools.heads import find_heads
from ecg_lightning.compression.tools.schedule import cubic_amounts, share_epochs
from ecg_lightning.compression.tools.shapes import fit_attention, fit_shapes, shapes_of
from ecg_lightning.deployment.extras import import_extra
from ecg_lightning.errors import UnsupportedModelError
from ecg_lightning.models.classifier import ECGClassifier


class PruneStructured(CompressionStage):
    """Removes the channels of least magnitude with all parameters that depend on them.

    Coupled layers are found by Torch-Pruning (DepGraph, Fang et al. 2023, arXiv 2301.12900). Attention
    keeps all heads, which become narrower. The layers that give the logits keep their classes.

    The remaining width is rounded to a multiple of `round_to`, a half up. A layer narrower than `round_to` is rounded
    to the largest power of two that fits. `scope=global` ranks layers of the same kind together (Fang et al. 2024,
    arXiv 2407.04616). It leaves each layer at least half of the width that `scope=layer` would.
    """

    finds = ("shapes",)
    settings: PruneStructuredConfig

    def check(self, accelerator: str) -> None:
        """Refuse if Torch-Pruning is missing."""
        import_extra("torch_pruning")

    def apply(self, classifier: ECGClassifier, context: StageContext) -> ECGClassifier:
        """Prune and fine-tune, step by step."""
        network = classifier.network
        before = sum(parameter.numel() for parameter in network.parameters())
        example = next(context.network_inputs(classifier, n_records=1))
        full_widths: dict[nn.Module, int] = {}
        epochs, steps = self.settings.epochs, self.settings.steps
        amounts = cubic_amounts(self.settings.amount, steps)
        for amount, own_epochs in zip(
            amounts, share_epochs(context.fit.epochs if epochs is None else epochs, steps), strict=True
        ):
            narrow = self._prune(classifier, example, amount, full_widths)
            if own_epochs:
                classifier = context.fit(classifier, own_epochs, self.settings.lr)
        after = sum(parameter.numel() for parameter in network.parameters())
        self.found = {"shapes": shapes_of(network)}
        context.notes.append(f"channels were removed: {before:,} → {after:,} parameters ({after / before:.1%})")
        if narrow:
            finest, coarsest = min(narrow), max(narrow)
            units = f"{finest}" if finest == coarsest else f"{finest} to {coarsest}"
            context.notes.append(f"layers with fewer than {self.settings.round_to} channels were rounded to {units}")
        return classifier

    def restore(self, classifier: ECGClassifier, state: dict[str, Tensor]) -> ECGClassifier:
        """Give the network the pruned shapes. A later stage may have renamed entries of `state`."""
        fit_shapes(classifier.network, self.found["shapes"])
        return classifier

    def _prune(
        self, classifier: ECGClassifier, example: Tensor, amount: float, full_widths: dict[nn.Module, int]
    ) -> set[int]:
        """Prune up to `amount` of the full widths, and return the units of layers narrower than `round_to`."""
        network = classifier.network
        heads = list(find_heads(network, len(classifier.classes)).values())
        try:
            with _traceable(network):
                round_to, scope = self.settings.round_to, self.settings.scope
                units = _prune_network(network, heads, example, amount, round_to, scope, full_widths)
            with torch.no_grad():
                network(example)
        # Tracing, and the first forward pass of a half-pruned network, raise these errors.
        except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
            reason = " ".join(str(e).split())[:200] or type(e).__name__
            raise UnsupportedModelError(
                f"prune_structured cannot follow the channels through {type(network).__name__} ({reason}); "
                "use prune_l1, or prune another model"
            ) from e
        return {unit for unit in units if unit < self.settings.round_to}


@dataclass
class _Group:
    """Layers whose channels are removed together.

    Attributes:
        graph: dependency graph of the network.
        root: first dependency of the group: the layer and the function that prune it.
        width: number of channels in one head of attention, or in one group of a convolution.
        repeats: number of heads or groups, which are pruned alike.
        importance: (width,) magnitudes.
        kind: kind of the group. Groups of the same kind can be ranked together.
        full_width: width before any pruning.
    """

    graph: Any
    root: Any
    width: int
    repeats: int
    importance: Tensor
    kind: tuple[Any, ...]
    full_width: int

    def prune_to(self, kept: int) -> None:
        """Remove the least important channels, so that `kept` are left."""
        least = torch.argsort(self.importance)[: self.width - kept].tolist()
        indices = sorted(channel + repeat * self.width for repeat in range(self.repeats) for channel in least)
        if indices:
            self.graph.get_pruning_group(self.root.target.module, self.root.handler, indices).prune()


def _prune_network(
    network: nn.Module,
    heads: Sequence[nn.Linear],
    example: Tensor,
    amount: float,
    round_to: int,
    scope: str,
    full_widths: dict[nn.Module, int],
) -> set[int]:
    """Prune in place, and return the units that widths were rounded to."""
    groups = list(_find_groups(network, heads, example, full_widths))
    if not groups:
        raise UnsupportedModelError(
            f"prune_structured: {type(network).__name__} has no channels that can be removed. Use compression=prune"
        )
    asked = _globally(groups, amount) if scope == "global" else [group.full_width * (1 - amount) for group in groups]
    units = set()
    for group, width in zip(groups, asked, strict=True):
        unit = rounding_unit(width, round_to)
        kept = min(group.width, round_width(width, unit))
        if kept < group.full_width:
            units.add(unit)
        group.prune_to(kept)
    return units


def rounding_unit(width: float, round_to: int) -> int:
    """Return `round_to`, or for a narrower layer the largest power of two that fits into its width."""
    return round_to if width >= round_to else int(2 ** math.floor(math.log2(max(width, 1))))


def round_width(width: float, unit: int) -> int:
    """Return the nearest multiple of `unit`, at least one `unit`. A half is rounded up."""
    return max(1, math.floor(width / unit + 0.5)) * unit


def _find_groups(
    network: nn.Module, heads: Sequence[nn.Linear], example: Tensor, full_widths: dict[nn.Module, int]
) -> Iterator[_Group]:
    import torch_pruning as tp

    graph: Any = tp.DependencyGraph().build_dependency(network, example, verbose=False)
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    attentions: dict[nn.Module, Attention] = {
        module.qkv: module for module in network.modules() if isinstance(module, Attention)
    }
    for group in list(graph.get_all_groups(ignored_layers=list(heads))):
        layers = [
            (dependency.target.module, graph.is_out_channel_pruning_fn(dependency.handler)) for dependency, _ in group
        ]
        repeats = max(_repeats(module, is_out, attentions) for module, is_out in layers)
        attention = next((attentions[module] for module, is_out in layers if is_out and module in attentions), None)
        if attention:  # seen from the projection: query, key and value share its channels
            group = graph.get_pruning_group(
                attention.proj, tp.prune_linear_in_channels, range(attention.proj.in_features)
            )
        with torch.no_grad():
            magnitudes = importance(group).view(repeats, -1).mean(dim=0)
        root = group[0].dep
        full = full_widths.setdefault(root.target.module, len(magnitudes))
        kind = tuple((type(module), is_out) for module, is_out in layers)
        yield _Group(graph, root, len(magnitudes), repeats, magnitudes, kind, full)


def _repeats(module: nn.Module, is_out: bool, attentions: dict[nn.Module, Attention]) -> int:
    """Return how many parts of a layer are pruned alike."""
    if is_out and module in attentions:
        return int(attentions[module].num_heads)
    if isinstance(module, nn.Conv2d) and module.groups < module.out_channels:
        return module.groups
    return 1


def _globally(groups: Sequence[_Group], amount: float) -> list[float]:
    """Return how many channels of each group are left if all groups of a kind are ranked together."""
    pools = defaultdict(list)
    for group in groups:
        pools[group.kind].append(group)
    widths = {}
    for pool in pools.values():
        ranked = torch.cat([group.importance for group in pool])
        n_kept = sum(group.full_width for group in pool) * (1 - amount)
        n_removed = max(0, len(ranked) - max(1, round(n_kept)))
        threshold = ranked.kthvalue(n_removed).values if n_removed else ranked.min() - 1
        for group in pool:
            above = float((group.importance > threshold).sum())
            widths[id(group)] = max(above, group.full_width * (1 - amount) / 2)
    return [widths[id(group)] for group in groups]


@contextmanager
def _traceable(network: nn.Module) -> Iterator[None]:
    """Compute attention in single steps, since the fused kernel hides its channels. Set its sizes afterwards."""
    # Any: timm declares `fused_attn` final, for TorchScript's sake.
    attentions: list[Any] = [module for module in network.modules() if isinstance(module, Attention)]
    fused = [attention.fused_attn for attention in attentions]
    frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
    network.requires_grad_(True)  # Torch-Pruning reads the graph from the gradients
    network.eval()
    for attention in attentions:
        attention.fused_attn = False
    try:
        with torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for attention, was_fused in zip(attentions, fused, strict=True):
            attention.fused_attn = was_fused
            fit_attention(attention)
