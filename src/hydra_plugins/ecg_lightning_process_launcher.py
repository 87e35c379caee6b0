"""`hydra/launcher=process`: run each cell of a sweep in a process of its own.

Hydra instantiates launchers from the namespace package `hydra_plugins` alone, and imports all that is in there
before it registers the module, so that annotations must not be strings here.
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
    """`ProcessLauncher`'s arguments."""

    _target_: str = "hydra_plugins.ecg_lightning_process_launcher.ProcessLauncher"
    jobs: int = 1
    cell_timeout: float | None = None


ConfigStore.instance().store(group="hydra/launcher", name="process", node=ProcessLauncherConf, provider="ecg_lightning")


class ProcessLauncher(Launcher):
    """Run the cells of a sweep, each in a process of its own; see `ecg_lightning.sweeps.sweep`.

    Args:
        jobs: cells that run at a time; they share the cores.
        cell_timeout: seconds after which a cell is stopped; None: never.
    """

    def __init__(self, jobs: int, cell_timeout: float | None) -> None:
        self.jobs = jobs
        self.cell_timeout = cell_timeout

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Open the sweep's folder, and find out what is left to run."""
        from ecg_lightning.sweeps.sweep import Sweep

        self._sweep = Sweep(hydra_context, task_function, config, self.jobs, self.cell_timeout)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells that are not finished, and return what each cell gave."""
        return self._sweep.launch(job_overrides, initial_job_idx)
