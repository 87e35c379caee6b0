"""One job in this process, as Hydra would start it."""

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from ecg_lightning.commands import job
from ecg_lightning.config import validation
from ecg_lightning.training import run as training

SETTINGS = (
    *("data=ptbxl", "model=resnet1d_wang", "model.channels=4", "hardware.precision=32-true", "hardware.threads=1"),
    *("logger=none", "callbacks.figures=false"),
)


def starter(configure, synthetic_root, monkeypatch):
    """Return a function that runs a job of train.py in a folder: its overrides, and the work in place of a training."""

    def run(output_dir, *overrides, work=training.run, mode="RUN"):
        settings = (*SETTINGS, f"data.root={synthetic_root}", *overrides)
        cfg = OmegaConf.structured(configure(*settings, output_dir=output_dir))
        hydra = {
            "runtime": {"output_dir": str(output_dir), "choices": {"model": "resnet1d_wang", "data": "ptbxl"}},
            "mode": mode,
            "overrides": {"task": list(overrides)},
            "sweep": {"dir": str(output_dir)},
        }
        monkeypatch.setattr(HydraConfig, "get", lambda: _hydra(hydra))
        return job.run_job(cfg, work, validation.validate)

    return run


def _hydra(settings):
    node = OmegaConf.create(settings)
    node.mode = RunMode[settings["mode"]]
    return node
