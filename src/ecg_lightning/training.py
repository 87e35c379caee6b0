"""One training run: build, fit, go back to the best checkpoint, evaluate it, and say what came out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.loggers import Logger

from ecg_lightning import bounded_yaml, hardware, stopping
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
from ecg_lightning.data.datamodule import TASK_KEYS, ECGDataModule
from ecg_lightning.disk import write_whole
from ecg_lightning.errors import CheckpointError, ConfigError, DataError
from ecg_lightning.evaluation import cohort, report
from ecg_lightning.evaluation.choices import Choices
from ecg_lightning.evaluation.headline import macro_intervals
from ecg_lightning.evaluation.metrics import nested_metrics
from ecg_lightning.evaluation.predictions import PREDICTIONS_FILE, Predictions, predictions_of, write_predictions
from ecg_lightning.hardware_schema import HardwareConfig
from ecg_lightning.leakage import check_taught, check_unseen, fold_notes, learned_from
from ecg_lightning.long_steps import long_step
from ecg_lightning.models.classifier import ECGClassifier
from ecg_lightning.models.schema import EnsembleConfig, NetworkConfig
from ecg_lightning.models.structure import measure_network
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
from ecg_lightning.training_schema import TrainingSettings

log = logging.getLogger(__name__)

_NOT_CALIBRATED = (
    "the checkpoint holds no temperature and no conformal sets of a validation fold, so raw probabilities are scored, "
    "with the checkpoint's thresholds"
)


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
    settings: TrainingSettings,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    result_file: str = RESULT_FILE,
) -> RunResult:
    """Train and test, or only test, what a checked configuration describes.

    Args:
        settings: checked settings, see `config.TrainConfig`.
        choices: option chosen in each config group, for the result.
        overrides: the command line's settings, for the result.
        result_file: its name.

    Returns:
        The result, also written to `paths.output_dir`; its score is the monitored value of the epoch that is scored.

    Raises:
        UserError: something that the user can mend; before anything is trained where possible.
    """
    output_dir = Path(settings.paths.output_dir)
    remove_half_written(output_dir)
    device, result = begin(settings.hardware, settings.seed, choices, overrides)
    resume = find_resume(settings.ckpt_path, output_dir) if settings.train else None
    if resume:
        _use_threads(settings, resume, result)
    precision = device["precision"]
    classifier, datamodule = (
        _prepare_training(settings, precision, result.choices, resume)
        if settings.train
        else _prepare_evaluation(settings)
    )
    if resume:
        _note_lengths(
            resume.earlier_lengths(settings.trainer.max_epochs), settings.trainer.max_epochs, classifier, result
        )
    result.data = describe_data(datamodule)
    if not settings.train:  # what is evaluated is the checkpoint's, whatever the command line says
        result.choices |= classifier.description["choices"]
        result.seed = classifier.description["seed"]
        result.notes = fold_notes(classifier.description, datamodule)
        for note in result.notes:
            log.warning("%s", note)
    result.notes += _limits(settings)
    write_config(_resolved(settings, classifier), output_dir, result)
    if settings.hardware.channels_last:
        hardware.to_channels_last(classifier.network)
    if settings.hardware.compile:
        classifier.compile_network()

    loggers = build_loggers(settings.logger, str(output_dir))
    evaluator = make_evaluator(settings, device)
    n_steps, curves = 0, LearningCurves()
    if settings.train:
        n_steps, curves = _fit(settings, device, loggers, classifier, datamodule, resume, result)
        _validate(settings, evaluator, classifier, datamodule, result)
    if settings.test:
        _test(settings, evaluator, classifier, datamodule, result, is_new=settings.train and resume is None)
    predictions = _predictions(classifier, datamodule)
    chosen = classifier.choices
    assert chosen is not None  # from its validation, or from its checkpoint
    for split, one in predictions.items():
        result.metrics[split]["ci95"] = macro_intervals(chosen.apply_raw(one), one.targets_NC, one.patient_ids)
    result.chosen = chosen.as_dict()
    if not chosen.is_calibrated:
        result.notes.append(_NOT_CALIBRATED)
    train_folds = classifier.description["folds"]["train"]
    result.evaluation = evaluate_predictions(chosen, predictions, train_folds, datamodule, result)
    figures = {}
    if settings.callbacks.figures:
        with long_step(log, "drawing the figures"):
            figures = handin.draw_headline(predictions, chosen, datamodule, output_dir)
    if settings.train:
        shown = {handin.headline(predictions): figures} if figures else {}
        tensorboard.log_final(loggers, n_steps, result, predictions, shown)
    # What was evaluated, where trainer.limit_* leaves records out.
    result.data |= {f"n_{phase}": len(classifier.scored[phase].targets) for phase in result.metrics}
    write_predictions(output_dir / PREDICTIONS_FILE, predictions)
    result.variants = [_baseline(classifier, result)]
    result.artifacts = _artifacts(output_dir)
    result.write(output_dir, result_file)
    learned = learning_section(curves.epochs, result.timing.get("best_epoch"), with_figure=settings.callbacks.figures)
    handin.leave(result, output_dir, figures, [learned] if curves.epochs else [], result_file)
    return result


def _fit(
    settings: TrainingSettings,
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
    guard = StopGuard(Path(settings.paths.output_dir) / "checkpoints" / "last.ckpt")
    is_longer = resume and (resume.max_epochs is None or resume.max_epochs < settings.trainer.max_epochs)
    longer = [LongerSchedule(resume.max_epochs)] if resume and is_longer else []
    trainer = make_trainer(settings, device, loggers, [*longer, guard])
    precision, step_s = device["precision"], None
    if resume is None:
        step_s = _choose_threads(settings, classifier, datamodule, precision, result)
    classifier.prepare_teacher(trainer, datamodule.datasets["train"])  # before a step is timed
    announce(
        settings,
        classifier,
        datamodule,
        precision,
        resume.place.epoch if resume else 0,
        seconds_per_record=None if classifier.distillation else step_s,
    )
    tensorboard.log_hyperparameters(loggers, settings, result.choices, result.host)
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
    if not settings.trainer.fast_dev_run:  # which writes no checkpoint
        _back_to_best(classifier, Path(settings.paths.output_dir), result)
    best_epoch = result.timing.get("best_epoch")
    result.notes += [note for guard in callbacks_of(trainer, CollapseGuard) for note in guard.notes(best_epoch)]
    return trainer.global_step, callbacks_of(trainer, LearningCurves)[0]


def _validate(
    settings: TrainingSettings,
    evaluator: L.Trainer,
    classifier: ECGClassifier,
    datamodule: ECGDataModule,
    result: RunResult,
) -> None:
    """Score the validation folds, and keep what they choose in the checkpoint."""
    checkpoint = Path(settings.paths.output_dir) / "checkpoints" / "best.ckpt"
    evaluator.validate(classifier, datamodule=datamodule, verbose=False)
    if classifier.trainable:
        _keep_choices(classifier, checkpoint)
    else:
        assert classifier.choices is not None
        save_classifier(classifier, checkpoint, classifier.choices)
    result.metrics["val"] = _metrics(evaluator, "val")
    result.score = float(evaluator.callback_metrics[settings.monitor])


def _test(
    settings: TrainingSettings,
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
    output_dir = Path(settings.paths.output_dir)
    scored = output_dir / "checkpoints" / "best.ckpt" if settings.train else Path(str(settings.ckpt_path)).expanduser()
    if scored.is_file():  # trainer.fast_dev_run writes none
        n_records, members = len(classifier.scored["test"].targets), members_of(classifier.description)
        record_scoring(scored, folds, n_records, output_dir, members, is_new=is_new)


def begin(
    hardware_settings: HardwareConfig, seed: int, choices: Mapping[str, str] | None, overrides: Sequence[str]
) -> tuple[dict[str, Any], RunResult]:
    """The device, prepared, what `hardware.prepare` gives; and a result that knows where and from what it comes."""
    device = hardware.prepare(hardware_settings)
    L.seed_everything(seed, workers=True, verbose=False)
    return device, RunResult(
        status="ok",
        choices=dict(choices or {}),
        overrides=list(overrides),
        seed=seed,
        git=git_revision(),
        versions=package_versions(),
        host=describe_run_host(device),
    )


def describe_run_host(device: Mapping[str, Any]) -> dict[str, Any]:
    """The machine, and what a run takes of it, as `result.json` holds it; of what `hardware.prepare` gave."""
    return hardware.describe_host() | {"threads": torch.get_num_threads(), "precision": device["precision"]}


def write_config(values: dict[str, Any], output_dir: Path, result: RunResult) -> None:
    """Write `config.yaml` and Hydra's files into the run's folder, and the configuration's hash into the result."""
    write_put_off()
    result.config_hash = hash_config(values)
    write_whole(output_dir / "config.yaml", bounded_yaml.dump(values))


def _limits(settings: TrainingSettings) -> list[str]:
    """Return a note for each setting that leaves a part of the records out, so that no table hides it."""
    if settings.trainer.fast_dev_run:
        return ["trainer.fast_dev_run: the program was tested on a few batches, so the scores mean nothing"]
    names = ("overfit_batches", *(f"limit_{phase}_batches" for phase in ("train", "val", "test")))
    limits = {name: getattr(settings.trainer, name) for name in names}
    return [
        f"trainer.{name}={value}: only a part of the records was used"
        for name, value in limits.items()
        if value and not (isinstance(value, float) and value == 1.0)
    ]


def _use_threads(settings: TrainingSettings, resume: Resume, result: RunResult) -> None:
    """Go on with as many threads as the training had begun with: sums are rounded by their order."""
    there = resume.threads
    if there is None or there == torch.get_num_threads():
        return
    if settings.hardware.threads:
        note = (
            f"the training was resumed with hardware.threads={settings.hardware.threads} instead of {there}, so its "
            "result may differ in the last digits from an uninterrupted training"
        )
        result.notes.append(note)
        log.warning("%s", note)
    else:
        log.info("the training resumes with %d threads, as it began", there)
        torch.set_num_threads(there)
        result.host["threads"] = there


def _choose_threads(
    settings: TrainingSettings, classifier: ECGClassifier, datamodule: ECGDataModule, precision: str, result: RunResult
) -> float | None:
    """Use the faster number of threads, and keep it in the result and the checkpoints, unless the user set one.

    Returns:
        Seconds that a step takes for one record, without a teacher; None where nothing was measured.
    """
    given = settings.hardware.threads or settings.hardware.accelerator != "cpu" or settings.trainer.fast_dev_run
    # A compiled network is compiled for each number of threads anew, which takes longer than it gains.
    if given or settings.hardware.compile or not classifier.trainable:
        return None
    n_records = records_of_an_epoch(settings.trainer, datamodule) * settings.trainer.max_epochs
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
    settings: TrainingSettings, precision: str, choices: Mapping[str, str], resume: Resume | None
) -> tuple[ECGClassifier, ECGDataModule]:
    """Model built, data checked and read, normalisation fitted, before anything is trained."""
    datamodule = build_datamodule(asdict(settings.data), settings.seed)
    network = settings.model if isinstance(settings.model, NetworkConfig) else NetworkConfig()
    teacher = load_teacher(asdict(network), datamodule) if network.teacher else None
    weights = described_in(network.weights) if network.weights else None
    if weights:
        check_unseen(f"model.weights={network.weights}", weights, datamodule)
    members_named = settings.model.members if isinstance(settings.model, EnsembleConfig) else []
    named = [Path(path).expanduser().resolve() for path in members_named]
    if again := [path for path in dict.fromkeys(named) if named.count(path) > 1]:
        raise ConfigError(f"model.members: {again[0]} is named {named.count(again[0])} times. Name each member once")
    members = [load_classifier(path) for path in members_named]
    for path, member in zip(members_named, members, strict=True):
        check_taught(f"model.members={path}", member.description, datamodule)
    classifier = build_classifier(
        asdict(settings.model),
        asdict(settings.frontend),
        n_samples=datamodule.n_samples,
        seed=settings.seed,
        classes=datamodule.classes,
        teacher=teacher,
        members=members,
    )
    classifier.description = describe(settings, datamodule, choices) | {
        "training": training_settings(settings, precision)
    }
    if members:  # whose files a checkpoint must not need
        classifier.description["members"] = [member.description for member in members]
    sources = [*members, *([teacher] if teacher else [])]
    begun = resume.description.get("learned_from", []) if resume else []  # from weights that are named no more
    classifier.description["learned_from"] = learned_from(
        [*(source.description for source in sources), *([weights] if weights else [])], begun
    )
    if resume:
        resume.check_fits(classifier.description)
    datamodule.load(("train", "val", "test") if settings.test else ("train", "val"))
    records = {"n_train": len(datamodule.datasets["train"]), "root_hash": datamodule.root_hash}
    if resume:
        resume.check_records(records)
        resume.announce(settings.trainer.max_epochs)
    classifier.description["training"] |= records
    classifier.frontend.fit_normalization(datamodule.datasets["train"].mean_and_std)
    classifier.loss.balance(datamodule.datasets["train"].targets)
    return classifier, datamodule


def _prepare_evaluation(settings: TrainingSettings) -> tuple[ECGClassifier, ECGDataModule]:
    """A checkpoint's classifier, and the test split of its own kind: its sampling rate and label rule."""
    assert settings.ckpt_path is not None
    classifier = load_classifier(settings.ckpt_path)
    datamodule = build_datamodule(of_its_task(asdict(settings.data), classifier.description), settings.seed)
    check_classes(f"ckpt_path={settings.ckpt_path}", classifier.description, datamodule)
    datamodule.load(("test",))
    return classifier, datamodule


def of_its_task(data: dict[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Data settings with the sampling rate, task and label rule that a checkpoint was trained with."""
    for name in TASK_KEYS:
        if data[name] != described[name]:
            log.info("data.%s=%s is set by the checkpoint", name, described[name])
    return data | {name: described[name] for name in TASK_KEYS}


def _predictions(classifier: ECGClassifier, datamodule: ECGDataModule) -> dict[str, Predictions]:
    """What was predicted of the validation and test records, which are read in the table's order."""
    splits = {}
    for split, scored in classifier.scored.items():
        if split != "train":
            spreads_NC = None if scored.spreads is None else scored.spreads.double().numpy()
            logits_NC = scored.logits.double().numpy()
            dataset = datamodule.datasets[split]
            splits[split] = predictions_of(classifier.classes, classifier.link, dataset, logits_NC, spreads_NC)
    return splits


def evaluate_predictions(
    choices: Choices,
    predictions: Mapping[str, Predictions],
    train_folds: Sequence[int],
    datamodule: ECGDataModule,
    result: RunResult,
) -> dict[str, Any]:
    """By split, all that `ecg-lightning evaluate` says.

    Args:
        choices: of the model.
        predictions: by split.
        train_folds: of the model.
        datamodule: whose table knows the records.
        result: is told what cannot be said.
    """
    with long_step(log, "computing intervals, calibration and subgroups"):
        return _evaluated(choices, predictions, train_folds, datamodule, result)


def _evaluated(
    choices: Choices,
    predictions: Mapping[str, Predictions],
    train_folds: Sequence[int],
    datamodule: ECGDataModule,
    result: RunResult,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split, one in predictions.items():
        found[split] = report.evaluate(choices, one).as_dict()
        try:
            found[split] |= cohort.describe(
                choices,
                one,
                datamodule.source.cohort(),
                train_folds,
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


def _keep_choices(classifier: ECGClassifier, path: Path) -> None:
    """Write the choices of the last validation into the checkpoint that was validated.

    Its own thresholds may be of other weights: of those before they were averaged, or of the last epoch that was
    validated.
    """
    if not path.is_file():  # trainer.fast_dev_run writes none
        return
    assert classifier.choices is not None
    checkpoint = read_checkpoint(path)
    checkpoint["state_dict"]["thresholds"] = classifier.thresholds.cpu()
    checkpoint["ecg_lightning"]["chosen"] = classifier.choices.as_dict()
    save_checkpoint(checkpoint, path)


def _resolved(settings: TrainingSettings, classifier: ECGClassifier) -> dict[str, Any]:
    """The configuration with the model and the front end that really run."""
    return asdict(settings) | {name: classifier.description[name] for name in ("model", "frontend")}


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
    size = measure_network(classifier.network)  # no file is deployed yet, so it has no bytes
    return {"name": "baseline", "stage": None, "metrics": result.metrics, "delta": None, "size": size, "runtimes": []}


def _artifacts(output_dir: Path) -> dict[str, str]:
    found = {name: output_dir / "checkpoints" / f"{name}.ckpt" for name in ("best", "last")}
    found |= {"config": output_dir / "config.yaml", "predictions": output_dir / PREDICTIONS_FILE}
    return {name: str(path.relative_to(output_dir)) for name, path in found.items() if path.is_file()}
