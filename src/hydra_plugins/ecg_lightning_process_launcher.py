"""The launcher of `hydra/launcher=process`, which runs each cell of a sweep in its own process.

Hydra instantiates launchers only from the namespace package `hydra_plugins`. It imports all its modules before it
registers them, so annotations must not be strings here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class ProcessLauncherConf:
    """The arguments of `ProcessLauncher`."""

    _target_: str = "hydra_plugins.ecg_lightning_process_launcher.ProcessLauncher"
    jobs: int = 1
    cell_timeout: float | None = None


ConfigStore.instance().store(group="hydra/launcher", name="process", node=ProcessLauncherConf, provider="ecg_lightning")


class ProcessLauncher(Launcher):
    """A launcher that runs each cell of a sweep in its own process; see `ecg_lightning.sweeps.sweep`.

    Args:
        jobs: number of cells that run at a time and share the cores.
        cell_timeout: seconds after which a cell is stopped; None for no limit.
    """

    def __init__(self, jobs: int, cell_timeout: float | None) -> None:
        self.jobs = jobs
        self.cell_timeout = cell_timeout

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Open the sweep's folder, and find the cells that are left to run."""
        from ecg_lightning.sweeps.sweep import Sweep

        self._sweep = Sweep(hydra_context, task_function, config, self.jobs, self.cell_timeout)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the unfinished cells, and return the return of each cell."""
        return self._sweep.launch(job_overrides, initial_job_idx)
