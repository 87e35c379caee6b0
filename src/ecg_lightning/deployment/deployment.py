"""One way to run a variant of a model: a file, a runtime and a precision."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Deployment(NamedTuple):
    """One way to run a variant: a file, the runtime that takes it, and the precision of its products.

    Attributes:
        path: the file; None where there is none, see `skipped`.
        runtime: one of `deployment.runtimes`.
        precision: `fp32`, `bf16` or `int8`; on a CUDA device `fp8` and `2:4`, too.
        skipped: why this runtime cannot take the variant.
        simulated: whether PyTorch computes the same, so that the two must agree; a runtime's own quantization tool
            makes another model.
    """

    path: Path | None
    runtime: str
    precision: str
    skipped: str | None = None
    simulated: bool = True

    @property
    def runs_in(self) -> tuple[str, str]:
        """Runtime and precision, which tell the deployments of a variant apart."""
        return self.runtime, self.precision
