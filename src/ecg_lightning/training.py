"""One training run: build, fit, go back to the best checkpoint, evaluate it, and say what came out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    RichModelSummary,
    RichProgressBar,
    Timer,
)
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from omegaconf import DictConfig, OmegaConf

from ecg_lightning import hardware
from ecg_lightning.building import (
    build_callbacks,
    build_classifier,
    build_datamodule,
    build_loggers,
    check_trainer_arguments,
)
from ecg_lightning.checkpoints import (
    AtomicCheckpointIO,
    Resume,
    describe,
    find_resume,
    load_classifier,
    read_checkpoint,
)
from ecg_lightning.data.datamodule import PTBXLDataModule
from ecg_lightning.errors import ConfigError
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.runs import tensorboard
from ecg_lightning.runs.announce import announce
from ecg_lightning.runs.callbacks import CollapseGuard, ProgressLines, on_terminal
from ecg_lightning.runs.results import RunResult, git_revision, hash_config, nested_metrics, package_versions

log = logging.getLogger(__name__)

_PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
_BUILT = ("extra", "max_time", "profiler")  # settings of the Trainer that are not passed on as they are

# Lightning's notices repeat in every run and advertise; its warnings stay.
for _name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@contextmanager
def _refusals_explained() -> Iterator[None]:
    """What Lightning refuses is a setting that the user can mend."""
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(f"Lightning's Trainer refuses these settings: {' '.join(str(error).split())}") from None


@_refusals_explained()
def run(cfg: DictConfig, choices: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> RunResult:
    """Train and test, or only test, what a checked configuration describes.

    Args:
        cfg: the composed configuration, see `config.TrainConfig`.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.

    Returns:
        The result, also written to `paths.output_dir`; its score is the best checkpoint's monitored value.

    Raises:
        UserError: something that the user can mend; before anything is trained where possible.
    """
    output_dir = Path(cfg.paths.output_dir)
    device = hardware.prepare(cfg.hardware)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    result = RunResult(
        status="ok",
        choices=dict(choices or {}),
        overrides=list(overrides),
        seed=cfg.seed,
        git=git_revision(),
        versions=package_versions(),
        host=hardware.describe_host() | {"threads": torch.get_num_threads(), "precision": device["precision"]},
    )
    resume = find_resume(cfg.ckpt_path, output_dir) if cfg.train else None
    classifier, datamodule = _prepare_training(cfg, result.choices, resume) if cfg.train else _prepare_evaluation(cfg)
    result.data = _describe_data(datamodule)
    if not cfg.train:  # what is evaluated is the checkpoint's, whatever the command line says
        result.choices |= classifier.description["choices"]
        result.seed = classifier.description["seed"]
    result.config_hash = hash_config(_resolved(cfg, classifier))
    output_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(_resolved(cfg, classifier)), output_dir / "config.yaml")
    if cfg.hardware.channels_last:
        classifier.network.to(memory_format=torch.channels_last)
    if cfg.hardware.compile:
        classifier.compile_network()

    loggers = build_loggers(_plain(cfg.logger), str(output_dir))
    # Its own trainer, so that the best checkpoint's scores do not become points of the training curves.
    evaluator = L.Trainer(
        **device, **_limits(cfg), logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[]
    )
    if cfg.train:
        timer = Timer(cfg.trainer.max_time)  # its clock travels in the checkpoints
        callbacks = [*_callbacks(cfg, output_dir, logged=bool(loggers)), timer]
        trainer = L.Trainer(
            **device,
            **{name: value for name, value in _plain(cfg.trainer).items() if name not in _BUILT},
            **check_trainer_arguments(_plain(cfg.trainer.extra)),
            callbacks=callbacks,
            logger=loggers,
            profiler=_PROFILERS[cfg.trainer.profiler](output_dir, "profile") if cfg.trainer.profiler else None,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=output_dir,
            enable_progress_bar=on_terminal(),
            enable_model_summary=on_terminal(),
            num_sanity_val_steps=0,
        )
        announce(cfg, classifier, datamodule, device["precision"])
        tensorboard.log_hyperparameters(loggers, cfg, result.choices, result.host)
        trainer.fit(
            classifier, datamodule=datamodule, ckpt_path=str(resume.path) if resume else None, weights_only=True
        )
        result.timing = _timing(trainer, timer, datamodule.batch_size)
        _back_to_best(classifier, output_dir, result)
        evaluator.validate(classifier, datamodule=datamodule, verbose=False)
        result.metrics["val"] = _metrics(evaluator, "val")
        result.score = float(evaluator.callback_metrics[cfg.monitor]) if cfg.monitor.startswith("val/") else None
        result.notes += [note for guard in callbacks if isinstance(guard, CollapseGuard) for note in guard.notes()]
    if cfg.test:
        evaluator.test(classifier, datamodule=datamodule, verbose=False)
        result.metrics["test"] = _metrics(evaluator, "test")
    if cfg.train:
        tensorboard.log_final(loggers, trainer.global_step, classifier, datamodule, result, cfg.callbacks.figures)
    result.thresholds = dict(zip(classifier.classes, classifier.thresholds.tolist(), strict=True))
    result.variants = [_baseline(classifier, result)]
    result.artifacts = _artifacts(output_dir)
    result.write(output_dir)
    return result


def _prepare_training(
    cfg: DictConfig, choices: Mapping[str, str], resume: Resume | None
) -> tuple[ECGClassifier, PTBXLDataModule]:
    """Model built, data checked and read, normalisation fitted, before anything is trained."""
    datamodule = build_datamodule(_plain(cfg.data), cfg.seed)
    teacher = load_classifier(cfg.model.teacher) if cfg.model.teacher else None
    if teacher is not None and teacher.description["sampling_rate"] != datamodule.sampling_rate:
        rate = teacher.description["sampling_rate"]
        raise ConfigError(
            f"model.teacher={cfg.model.teacher} was trained at {rate} Hz, this run reads {datamodule.sampling_rate} "
            f"Hz: set data.sampling_rate={rate}, or take another teacher"
        )
    classifier = build_classifier(
        _plain(cfg.model), _plain(cfg.frontend), n_samples=datamodule.n_samples, seed=cfg.seed, teacher=teacher
    )
    classifier.description = describe(cfg, datamodule, choices)
    if resume:
        resume.check_fits(classifier.description)
    datamodule.load(("train", "val", "test") if cfg.test else ("train", "val"))
    classifier.frontend.fit_normalization(datamodule.datasets["train"].mean_and_std)
    return classifier, datamodule


def _prepare_evaluation(cfg: DictConfig) -> tuple[ECGClassifier, PTBXLDataModule]:
    """A checkpoint's classifier, and the test split of its own kind: its sampling rate and label rule."""
    classifier = load_classifier(cfg.ckpt_path)
    settings = _plain(cfg.data)
    for name in ("sampling_rate", "label_rule"):
        if settings[name] != classifier.description[name]:
            settings[name] = classifier.description[name]
            log.info("data.%s=%s is taken from the checkpoint", name, settings[name])
    datamodule = build_datamodule(settings, cfg.seed)
    datamodule.load(("test",))
    return classifier, datamodule


def _callbacks(cfg: DictConfig, output_dir: Path, logged: bool) -> list[Callback]:
    """Best and last checkpoint, early stopping, guard, progress, and what the user added."""
    common: dict[str, Any] = {
        "dirpath": output_dir / "checkpoints",
        "auto_insert_metric_name": False,
        "enable_version_counter": False,
    }
    callbacks: list[Callback] = [
        ModelCheckpoint(filename="best", monitor=cfg.monitor, mode="max", **common),
        # A second one: `save_last` of the first lags behind until the metric improves.
        # It is not saved in the middle of an epoch, where Lightning would resume with other batches.
        ModelCheckpoint(filename="last", every_n_epochs=1, **common),
        ProgressLines(),
    ]
    if cfg.callbacks.early_stopping is not None:
        callbacks.append(EarlyStopping(**_plain(cfg.callbacks.early_stopping)))
    if cfg.callbacks.collapse_guard:
        callbacks.append(CollapseGuard())
    if logged:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    if on_terminal():
        callbacks += [RichProgressBar(leave=False), RichModelSummary(max_depth=1)]
    return callbacks + build_callbacks(_plain(cfg.callbacks.extra))


def _timing(trainer: L.Trainer, timer: Timer, batch_size: int) -> dict[str, float]:
    """Of the whole fit, the parts before a resumption included."""
    timing = {"fit_s": timer.time_elapsed(), "epochs": trainer.current_epoch}
    if timing["fit_s"]:
        records = trainer.global_step * trainer.accumulate_grad_batches * batch_size
        timing["samples_per_s"] = records / timing["fit_s"]
    return timing


def _back_to_best(classifier: ECGClassifier, output_dir: Path, result: RunResult) -> None:
    """Fill the classifier from the best checkpoint: the one that is evaluated, compressed and scored."""
    path = output_dir / "checkpoints" / "best.ckpt"
    if path.is_file():  # none after fast_dev_run
        checkpoint = read_checkpoint(path)
        classifier.load_state_dict(checkpoint["state_dict"])
        result.timing["best_epoch"] = checkpoint["epoch"] + 1


def _resolved(cfg: DictConfig, classifier: ECGClassifier) -> dict[str, Any]:
    """The configuration with the model and the front end that really run."""
    return _plain(cfg) | {name: classifier.description[name] for name in ("model", "frontend")}


def _metrics(trainer: L.Trainer, phase: str) -> dict[str, Any]:
    prefix = f"{phase}/"
    found = {
        name.removeprefix(prefix): float(v) for name, v in trainer.callback_metrics.items() if name.startswith(prefix)
    }
    return nested_metrics(found)


def _describe_data(datamodule: PTBXLDataModule) -> dict[str, Any]:
    counts = {f"n_{split}": len(dataset) for split, dataset in datamodule.datasets.items()}
    described = {name: getattr(datamodule, name) for name in ("root_hash", "version", "label_rule")}
    return described | counts


def _baseline(classifier: ECGClassifier, result: RunResult) -> dict[str, Any]:
    """The uncompressed model, as the first variant."""
    parameters = list(classifier.network.parameters())
    n_parameters = sum(parameter.numel() for parameter in parameters)
    size = {
        "bytes": sum(value.numel() * value.element_size() for value in classifier.network.state_dict().values()),
        "compressed_bytes": None,
        "nonzero_fraction": sum(int(parameter.count_nonzero()) for parameter in parameters) / n_parameters,
        "parameters": n_parameters,
    }
    return {"name": "baseline", "stage": None, "metrics": result.metrics, "delta": None, "size": size, "runtimes": []}


def _artifacts(output_dir: Path) -> dict[str, str]:
    found = {name: output_dir / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")}
    found["config"] = output_dir / "config.yaml"
    return {name: str(path.relative_to(output_dir)) for name, path in found.items() if path.is_file()}


def _limits(cfg: DictConfig) -> dict[str, Any]:
    names = ("limit_val_batches", "limit_test_batches", "fast_dev_run")
    return {name: cfg.trainer[name] for name in names}


def _plain(node: Any) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
