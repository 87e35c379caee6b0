"""One training run: build, fit, go back to the best checkpoint, evaluate it, and say what came out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from ecg_lightning import hardware, stopping
from ecg_lightning.building import build_classifier, build_datamodule, build_loggers
from ecg_lightning.checkpoint_io import save_checkpoint
from ecg_lightning.checkpoints import (
    check_classes,
    describe,
    described_in,
    load_classifier,
    members_of,
    read_checkpoint,
    save_classifier,
)
from ecg_lightning.config import plain
from ecg_lightning.data.datamodule import TASK_KEYS, ECGDataModule, SignalDataset
from ecg_lightning.data.folder import FolderSource
from ecg_lightning.data.source import OWN
from ecg_lightning.disk import write_whole
from ecg_lightning.errors import CheckpointError, ConfigError, DataError
from ecg_lightning.evaluation import cohort, report
from ecg_lightning.evaluation.decisions import Decided, macro_intervals
from ecg_lightning.evaluation.metrics import nested_metrics
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, Predictions, write_predictions
from ecg_lightning.leakage import check_taught, check_unseen, fold_notes, learned_from
from ecg_lightning.long_steps import long_step
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.resume import Place, Resume, find_resume, training_settings
from ecg_lightning.run_lock import remove_half_written
from ecg_lightning.runs import handin, tensorboard
from ecg_lightning.runs.announce import announce, records_of_an_epoch
from ecg_lightning.runs.callbacks import CollapseGuard
from ecg_lightning.runs.learning_curves import LearningCurves, learning_section
from ecg_lightning.runs.ledger import record_scoring
from ecg_lightning.runs.longer_schedule import LongerSchedule
from ecg_lightning.runs.put_off import write_put_off
from ecg_lightning.runs.results import RESULT_FILE, RunResult, git_revision, hash_config, package_versions
from ecg_lightning.runs.step_time import choose_threads
from ecg_lightning.runs.stop_guard import StopGuard
from ecg_lightning.teaching import load_teacher
from ecg_lightning.trainer import callbacks_of, make_evaluator, make_trainer

log = logging.getLogger(__name__)


@contextmanager
def _refusals_explained() -> Iterator[None]:
    """What Lightning refuses is a setting that the user can mend."""
    try:
        yield
    except MisconfigurationException as error:
        raise ConfigError(f"Lightning's Trainer refuses these settings: {' '.join(str(error).split())}") from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            "batch normalization cannot train on one value per channel. Set data.batch_size to at least 2, or a "
            "larger frontend.size"
        ) from None


@_refusals_explained()
def run(
    cfg: DictConfig,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    result_file: str = RESULT_FILE,
) -> RunResult:
    """Train and test, or only test, what a checked configuration describes.

    Args:
        cfg: the composed configuration, see `config.TrainConfig`.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.
        result_file: its name.

    Returns:
        The result, also written to `paths.output_dir`; its score is the monitored value of the epoch that is scored.

    Raises:
        UserError: something that the user can mend; before anything is trained where possible.
    """
    output_dir = Path(cfg.paths.output_dir)
    remove_half_written(output_dir)
    device, result = begin(cfg, choices, overrides)
    if not cfg.train:
        _refuse_without_effect(overrides)
    resume = find_resume(cfg.ckpt_path, output_dir) if cfg.train else None
    if resume:
        _use_threads(cfg, resume, result)
    precision = device["precision"]
    classifier, datamodule = (
        _prepare_training(cfg, precision, result.choices, resume) if cfg.train else _prepare_evaluation(cfg)
    )
    if resume:
        _note_lengths(resume.earlier_lengths(cfg.trainer.max_epochs), cfg.trainer.max_epochs, classifier, result)
    result.data = describe_data(datamodule)
    if not cfg.train:  # what is evaluated is the checkpoint's, whatever the command line says
        result.choices |= classifier.description["choices"]
        result.seed = classifier.description["seed"]
        result.notes = fold_notes(classifier.description, datamodule)
        for note in result.notes:
            log.warning("%s", note)
    result.notes += [*datamodule.source.notes(), *_limits(cfg)]
    write_config(_resolved(cfg, classifier), output_dir, result)
    if cfg.hardware.channels_last:
        hardware.to_channels_last(classifier.network)
    if cfg.hardware.compile:
        classifier.compile_network()

    loggers = build_loggers(plain(cfg.logger), str(output_dir))
    evaluator = make_evaluator(cfg, device)
    n_steps, curves = 0, LearningCurves()
    if cfg.train:
        n_steps, curves = _fit(cfg, device, loggers, classifier, datamodule, resume, result)
        _validate(cfg, evaluator, classifier, datamodule, result)
    if cfg.test:
        _test(cfg, evaluator, classifier, datamodule, result, is_new=cfg.train and resume is None)
    predictions = _predictions(classifier, datamodule)
    for split, one in predictions.items():
        decided = Decided(one.probabilities(), classifier.thresholds.cpu().numpy())
        result.metrics[split]["ci95"] = macro_intervals(decided, one.targets_NC, one.patient_ids)
    result.thresholds = dict(zip(classifier.classes, classifier.thresholds.tolist(), strict=True))
    train_folds = classifier.description["folds"]["train"]
    result.evaluation = evaluate_predictions(predictions, train_folds, datamodule, result)
    figures = {}
    if cfg.callbacks.figures:
        with long_step(log, "drawing the figures"):
            figures = handin.draw_headline(predictions, result.thresholds, datamodule, output_dir)
    if cfg.train:
        shown = {handin.headline(predictions): figures} if figures else {}
        tensorboard.log_final(loggers, n_steps, result, predictions, shown)
    # What was evaluated, where trainer.limit_* leaves records out.
    result.data |= {f"n_{phase}": len(classifier.scored[phase].targets) for phase in result.metrics}
    write_predictions(output_dir / PREDICTIONS_FILE, predictions)
    result.variants = [_baseline(classifier, result)]
    result.artifacts = _artifacts(output_dir)
    result.write(output_dir, result_file)
    learned = learning_section(curves.epochs, result.timing.get("best_epoch"), with_figure=cfg.callbacks.figures)
    handin.leave(result, output_dir, figures, [learned] if curves.epochs else [], result_file)
    return result


def _fit(
    cfg: DictConfig,
    device: Mapping[str, Any],
    loggers: list[Logger],
    classifier: ECGClassifier,
    datamodule: ECGDataModule,
    resume: Resume | None,
    result: RunResult,
) -> tuple[int, LearningCurves]:
    """Train, and go back to the epoch that is scored.

    Returns:
        The number of optimizer steps, and the losses and scores of the epochs.
    """
    guard = StopGuard(Path(cfg.paths.output_dir) / "checkpoints" / "last.ckpt")
    is_longer = resume and (resume.max_epochs is None or resume.max_epochs < cfg.trainer.max_epochs)
    longer = [LongerSchedule(resume.max_epochs)] if resume and is_longer else []
    trainer = make_trainer(cfg, device, loggers, [*longer, guard])
    precision, step_s = device["precision"], None
    if resume is None:
        step_s = _choose_threads(cfg, classifier, datamodule, precision, result)
    classifier.prepare_teacher(trainer, datamodule.datasets["train"])  # before a step is timed
    announce(
        cfg,
        classifier,
        datamodule,
        precision,
        resume.place.epoch if resume else 0,
        seconds_per_record=None if classifier.distillation else step_s,
    )
    tensorboard.log_hyperparameters(loggers, cfg, result.choices, result.host)
    if not classifier.trainable:
        return 0, LearningCurves()
    datamodule.start_at(*(resume.place if resume else Place()))
    with stopping.held():  # the guard stops it where nothing is lost
        try:
            path = str(resume.path) if resume else None
            trainer.fit(classifier, datamodule=datamodule, ckpt_path=path, weights_only=True)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            if resume is None or guard.has_started:
                raise
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{resume.path} cannot be resumed: {reason}. Use another checkpoint") from error
    result.timing = _timing(trainer, datamodule.batch_size)
    if classifier.distillation:
        result.timing["teacher_s"] = classifier.distillation.prepared_in_s
    if not cfg.trainer.fast_dev_run:  # which writes no checkpoint
        _back_to_best(classifier, Path(cfg.paths.output_dir), result)
    best_epoch = result.timing.get("best_epoch")
    result.notes += [note for guard in callbacks_of(trainer, CollapseGuard) for note in guard.notes(best_epoch)]
    return trainer.global_step, callbacks_of(trainer, LearningCurves)[0]


def _validate(
    cfg: DictConfig, evaluator: L.Trainer, classifier: ECGClassifier, datamodule: ECGDataModule, result: RunResult
) -> None:
    """Score the validation folds, and keep what they choose in the checkpoint."""
    checkpoint = Path(cfg.paths.output_dir) / "checkpoints" / "best.ckpt"
    evaluator.validate(classifier, datamodule=datamodule, verbose=False)
    if classifier.trainable:
        _keep_thresholds(classifier, checkpoint)
    else:
        save_classifier(classifier, checkpoint)
    result.metrics["val"] = _metrics(evaluator, "val")
    result.score = float(evaluator.callback_metrics[cfg.monitor])


def _test(
    cfg: DictConfig,
    evaluator: L.Trainer,
    classifier: ECGClassifier,
    datamodule: ECGDataModule,
    result: RunResult,
    *,
    is_new: bool,
) -> None:
    """Score the test folds, once, and write down that it was done: with this checkpoint, and an ensemble's members."""
    folds = datamodule.folds["test"]
    log.info("scoring the test folds %s with the chosen checkpoint", list(folds))
    evaluator.test(classifier, datamodule=datamodule, verbose=False)
    result.metrics["test"] = _metrics(evaluator, "test")
    output_dir = Path(cfg.paths.output_dir)
    scored = output_dir / "checkpoints" / "best.ckpt" if cfg.train else Path(cfg.ckpt_path).expanduser()
    if scored.is_file():  # trainer.fast_dev_run writes none
        n_records, members = len(classifier.scored["test"].targets), members_of(classifier.description)
        record_scoring(scored, folds, n_records, output_dir, members, is_new=is_new)


def begin(
    cfg: DictConfig, choices: Mapping[str, str] | None, overrides: Sequence[str]
) -> tuple[dict[str, Any], RunResult]:
    """The device, prepared, what `hardware.prepare` gives; and a result that knows where and from what it comes."""
    device = hardware.prepare(cfg.hardware)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    return device, RunResult(
        status="ok",
        choices=dict(choices or {}),
        overrides=list(overrides),
        seed=cfg.seed,
        git=git_revision(),
        versions=package_versions(),
        host=describe_run_host(device),
    )


def describe_run_host(device: Mapping[str, Any]) -> dict[str, Any]:
    """The machine, and what a run takes of it, as `result.json` holds it; of what `hardware.prepare` gave."""
    return hardware.describe_host() | {"threads": torch.get_num_threads(), "precision": device["precision"]}


def write_config(settings: dict[str, Any], output_dir: Path, result: RunResult) -> None:
    """Write `config.yaml` and Hydra's files into the run's folder, and the configuration's hash into the result."""
    write_put_off()
    result.config_hash = hash_config(settings)
    write_whole(output_dir / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(settings)))


def _limits(cfg: DictConfig) -> list[str]:
    """Return a note for each setting that leaves a part of the records out, so that no table hides it."""
    if cfg.trainer.fast_dev_run:
        return ["trainer.fast_dev_run: the program was tested on a few batches, so the scores mean nothing"]
    names = ("overfit_batches", *(f"limit_{phase}_batches" for phase in ("train", "val", "test")))
    limits = {name: cfg.trainer[name] for name in names}
    return [
        f"trainer.{name}={value}: only a part of the records was used"
        for name, value in limits.items()
        if value and not (isinstance(value, float) and value == 1.0)
    ]


def _use_threads(cfg: DictConfig, resume: Resume, result: RunResult) -> None:
    """Go on with as many threads as the training had begun with: sums are rounded by their order."""
    there = resume.threads
    if there is None or there == torch.get_num_threads():
        return
    if cfg.hardware.threads:
        note = (
            f"the training was resumed with hardware.threads={cfg.hardware.threads} instead of {there}, so its "
            "result may differ in the last digits from an uninterrupted training"
        )
        result.notes.append(note)
        log.warning("%s", note)
    else:
        log.info("the training resumes with %d threads, as it began", there)
        torch.set_num_threads(there)
        result.host["threads"] = there


def _choose_threads(
    cfg: DictConfig, classifier: ECGClassifier, datamodule: ECGDataModule, precision: str, result: RunResult
) -> float | None:
    """Use the faster number of threads, and keep it in the result and the checkpoints, unless the user set one.

    Returns:
        Seconds that a step takes for one record, without a teacher; None where nothing was measured.
    """
    given = cfg.hardware.threads or cfg.hardware.accelerator != "cpu" or cfg.trainer.fast_dev_run
    # A compiled network is compiled for each number of threads anew, which takes longer than it gains.
    if given or cfg.hardware.compile or not classifier.trainable:
        return None
    n_records = records_of_an_epoch(cfg, datamodule) * cfg.trainer.max_epochs
    threads, step_s = choose_threads(classifier, datamodule, precision, n_records)
    result.host["threads"] = classifier.description["training"]["threads"] = threads
    return step_s


def _note_lengths(earlier: list[int], max_epochs: int, classifier: ECGClassifier, result: RunResult) -> None:
    """Write down that a training was made longer, where it was: in its checkpoints and its result."""
    classifier.description["training"]["earlier_lengths"] = result.earlier_lengths = earlier
    if earlier:
        lengths = ", then ".join(str(length) for length in (*earlier, max_epochs))
        result.notes.append(
            f"the training was extended ({lengths} epochs). Its learning rate differs from a training of "
            f"{max_epochs} epochs from the start, so compare treats the two as different recipes"
        )


def _prepare_training(
    cfg: DictConfig, precision: str, choices: Mapping[str, str], resume: Resume | None
) -> tuple[ECGClassifier, ECGDataModule]:
    """Model built, data checked and read, normalisation fitted, before anything is trained."""
    datamodule = build_datamodule(plain(cfg.data), cfg.seed)
    teacher = load_teacher(plain(cfg.model), datamodule) if cfg.model.teacher else None
    weights = described_in(cfg.model.weights) if cfg.model.weights else None
    if weights:
        check_unseen(f"model.weights={cfg.model.weights}", weights, datamodule)
    named = [Path(path).expanduser().resolve() for path in cfg.model.get("members", ())]
    if again := [path for path in dict.fromkeys(named) if named.count(path) > 1]:
        raise ConfigError(f"model.members: {again[0]} is named {named.count(again[0])} times. Name each member once")
    members = [load_classifier(path) for path in cfg.model.get("members", ())]
    for path, member in zip(cfg.model.get("members", ()), members, strict=True):
        check_taught(f"model.members={path}", member.description, datamodule)
    classifier = build_classifier(
        plain(cfg.model),
        plain(cfg.frontend),
        n_samples=datamodule.n_samples,
        duration_s=datamodule.n_samples / datamodule.sampling_rate,
        seed=cfg.seed,
        classes=datamodule.classes,
        teacher=teacher,
        members=members,
    )
    classifier.description = describe(cfg, datamodule, choices) | {"training": training_settings(cfg, precision)}
    if members:  # whose files a checkpoint must not need
        classifier.description["members"] = [member.description for member in members]
    sources = [*members, *([teacher] if teacher else [])]
    begun = resume.description.get("learned_from", []) if resume else []  # from weights that are named no more
    classifier.description["learned_from"] = learned_from(
        [*(source.description for source in sources), *([weights] if weights else [])], begun
    )
    if resume:
        resume.check_fits(classifier.description)
    datamodule.load(("train", "val", "test") if cfg.test else ("train", "val"))
    records = {"n_train": len(datamodule.datasets["train"]), "root_hash": datamodule.root_hash}
    if resume:
        resume.check_records(records)
        resume.announce(cfg.trainer.max_epochs)
    classifier.description["training"] |= records
    classifier.frontend.fit_normalization(datamodule.datasets["train"].mean_and_std)
    classifier.loss.balance(datamodule.datasets["train"].targets)
    return classifier, datamodule


def _refuse_without_effect(overrides: Sequence[str]) -> None:
    """What is evaluated is a checkpoint's model, with the thresholds of its own windows and front end."""
    for override in overrides:
        if re.match(r"[+~]*(model|frontend)[./=]", override):
            recut = ""
            if re.search("stride_s|aggregate", override):
                recut = (
                    ". To test with other windows, use model=ensemble model.members=[FILE] model.stride_s=0.5 "
                    "model.aggregate=mean, which also chooses new thresholds"
                )
            raise ConfigError(
                f"{override} has no effect with train=false, which evaluates the checkpoint's model and front "
                f"end. Remove it{recut}"
            )


def _prepare_evaluation(cfg: DictConfig) -> tuple[ECGClassifier, ECGDataModule]:
    """A checkpoint's classifier, and the test split of its own kind: its sampling rate and label rule."""
    classifier = load_classifier(cfg.ckpt_path)
    datamodule = build_datamodule(of_its_task(plain(cfg.data), classifier.description), cfg.seed)
    if isinstance(datamodule.source, FolderSource):
        classifier.score_only(datamodule.source.match(classifier.classes))
    check_classes(f"ckpt_path={cfg.ckpt_path}", classifier.classes, datamodule)
    datamodule.load(("test",))
    return classifier, datamodule


def of_its_task(settings: dict[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Data settings with the sampling rate, length, task and label rule that a checkpoint was trained with."""
    own: dict[str, Any] = {name: described[name] for name in TASK_KEYS}
    if "duration_s" in settings:
        own = {
            "sampling_rate": described["sampling_rate"],
            "duration_s": described["n_samples"] / described["sampling_rate"],
        }
    elif described["task"] == OWN:
        raise ConfigError(
            f"the checkpoint predicts the classes {', '.join(described['classes'][:10])} of its own table. Name a "
            "table with these labels: data=folder data.root=DIR data.table=FILE"
        )
    for name, value in own.items():
        if settings[name] != value:
            log.info("data.%s=%s is set by the checkpoint", name, value)
    return settings | own


def _predictions(classifier: ECGClassifier, datamodule: ECGDataModule) -> dict[str, Predictions]:
    """What was predicted of the validation and test records, which are read in the table's order."""
    splits = {}
    for split, scored in classifier.scored.items():
        if split != "train":
            spreads_NC = None if scored.spreads is None else scored.spreads.double().numpy()
            logits_NC = scored.logits.double().numpy()
            splits[split] = predictions_of(classifier, datamodule.datasets[split], logits_NC, spreads_NC)
    return splits


def predictions_of(
    classifier: ECGClassifier,
    dataset: SignalDataset,
    logits_NC: npt.NDArray[np.float64],
    spreads_NC: npt.NDArray[np.float64] | None = None,
) -> Predictions:
    """What a classifier, or a file made of it, said of the first N records of a split."""
    n_records = len(logits_NC)
    return Predictions(
        classes=tuple(classifier.classes),
        link=classifier.link,
        ecg_ids=dataset.ecg_ids[:n_records],
        patient_ids=dataset.patient_ids[:n_records],
        targets_NC=dataset.targets[:n_records].numpy().astype(bool),
        logits_NC=logits_NC,
        spreads_NC=spreads_NC,
    )


def evaluate_predictions(
    predictions: Mapping[str, Predictions], train_folds: Sequence[int], datamodule: ECGDataModule, result: RunResult
) -> dict[str, Any]:
    """By split, all that `ecg-lightning evaluate` says.

    Args:
        predictions: by split; where the validation fold is not among them, `result.thresholds` decide.
        train_folds: of the model.
        datamodule: whose table knows the records.
        result: is told what cannot be said.
    """
    with long_step(log, "computing intervals, calibration and subgroups"):
        return _evaluated(predictions, train_folds, datamodule, result)


def _evaluated(
    predictions: Mapping[str, Predictions], train_folds: Sequence[int], datamodule: ECGDataModule, result: RunResult
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    val = predictions.get("val")
    thresholds = np.array([result.thresholds[name] for name in datamodule.classes])
    for split, one in predictions.items():
        found[split] = report.evaluate(val, one, thresholds_C=thresholds).as_dict()
        try:
            found[split] |= cohort.describe(
                val,
                one,
                datamodule.source.cohort(),
                train_folds,
                thresholds_C=thresholds,
            )
        except DataError as error:  # a table without ages, say: no reason to lose the training's result
            result.notes.append(f"{split}: subgroups are left out: {error}")
    return found


def _timing(trainer: L.Trainer, batch_size: int) -> dict[str, float]:
    """Of the whole fit, the parts before a resumption included."""
    timer = callbacks_of(trainer, Timer)[0]
    timing = {"fit_s": timer.time_elapsed(), "epochs": trainer.current_epoch}
    if timing["fit_s"]:
        n_batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        timing["samples_per_s"] = n_batches * batch_size / timing["fit_s"]
    return timing


def _back_to_best(classifier: ECGClassifier, output_dir: Path, result: RunResult) -> None:
    """Fill the classifier from the best checkpoint: the one that is evaluated, compressed and scored."""
    path = output_dir / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise ConfigError(
            "training ended before an epoch was finished, so there is no checkpoint to score. Allow more "
            "trainer.max_time, or more trainer.max_epochs than the resumed checkpoint has"
        )
    checkpoint = read_checkpoint(path)
    classifier.load_state_dict(checkpoint["state_dict"])
    result.timing["best_epoch"] = checkpoint["epoch"] + 1
    if checkpoint.get("averaging_state", {}).get("n_averaged", 2) <= 1:
        result.notes.append(
            f"the scored epoch {checkpoint['epoch'] + 1} ended before the averaging began, so its weights are not "
            "averaged. Set scored_epoch=last"
        )


def _keep_thresholds(classifier: ECGClassifier, path: Path) -> None:
    """Write the thresholds of the last validation into the checkpoint that was validated.

    Its own may be of other weights: of those before they were averaged, or of the last epoch that was validated.
    """
    if not path.is_file():  # trainer.fast_dev_run writes none
        return
    checkpoint = read_checkpoint(path)
    if not torch.equal(checkpoint["state_dict"]["thresholds"], classifier.thresholds.cpu()):
        checkpoint["state_dict"]["thresholds"] = classifier.thresholds.cpu()
        save_checkpoint(checkpoint, path)


def _resolved(cfg: DictConfig, classifier: ECGClassifier) -> dict[str, Any]:
    """The configuration with the model and the front end that really run."""
    return plain(cfg) | {name: classifier.description[name] for name in ("model", "frontend")}


def _metrics(trainer: L.Trainer, phase: str) -> dict[str, Any]:
    prefix = f"{phase}/"
    found = {
        name.removeprefix(prefix): float(v) for name, v in trainer.callback_metrics.items() if name.startswith(prefix)
    }
    return nested_metrics(found)


def describe_data(datamodule: ECGDataModule) -> dict[str, Any]:
    """Which records a run had, as `result.json` holds it."""
    counts = {f"n_{split}": len(dataset) for split, dataset in datamodule.datasets.items()}
    names = ("dataset", "root_hash", "version", "task", "label_rule", "n_left_out")
    return {name: getattr(datamodule, name) for name in names} | counts


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
    found |= {"config": output_dir / "config.yaml", "predictions": output_dir / PREDICTIONS_FILE}
    return {name: str(path.relative_to(output_dir)) for name, path in found.items() if path.is_file()}
