"""A way to run a variant of a model: a file, a runtime and a precision."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Deployment(NamedTuple):
    """A way to run a variant: a file, the runtime that opens it, and the precision of its products.

    Attributes:
        path: the file; None if there is none, see `skipped`.
        runtime: one of `deployment.runtimes`.
        precision: `fp32`, `bf16` or `int8`; on a CUDA device also `fp8` and `2:4`.
        skipped: reason why this runtime cannot run the variant.
        simulated: whether PyTorch computes the same, so that both must agree. A runtime's own quantization tool makes
            another model.
    """

    path: Path | None
    runtime: str
    precision: str
    skipped: str | None = None
    simulated: bool = True

    @property
    def runs_in(self) -> tuple[str, str]:
        """The runtime and precision, which distinguish the deployments of a variant."""
        return self.runtime, self.precision
