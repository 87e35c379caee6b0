"""Every YAML of `conf/` composes; wrong keys, types and values are refused with a way out; the surface is frozen."""

import dataclasses
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args, get_type_hints

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from programs import FROZEN_KEYS
from tiny import ROOT, SIGNAL_MODELS, TINY

from ecg_lightning.checkpoints.building import build, build_frontend, resolve
from ecg_lightning.commands import launching
from ecg_lightning.commands.sweep_callback import SweepReport
from ecg_lightning.components.registry import _FORMER, _MOVED, renamed, schema_of, targets_of
from ecg_lightning.compression.schema import CompressConfig, TrainConfig
from ecg_lightning.config.composition_errors import explain
from ecg_lightning.config.quoting import quote_paths
from ecg_lightning.config.schema import SCHEMAS
from ecg_lightning.config.validation import RENAMED_EXPERIMENTS, check_experiment
from ecg_lightning.data.folds import fold_groups
from ecg_lightning.errors import ConfigError, UserError
from ecg_lightning.frontend.frontend import Frontend

CONF = ROOT / "conf"
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml") if path.parent.name not in ("hydra", "local")
)


RECIPES = [path.stem for path in CONF.glob("recipe/*.yaml")]


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_is_valid(configure, option, tmp_path, monkeypatch):
    overrides = [option]
    if option.startswith("recipe="):  # which experiments choose
        overrides = [] if option == "recipe=none" else [option.replace("recipe", "experiment")]
    if option.startswith("recipe_"):  # Hydra adds it where both are chosen
        group, _, both = option.removeprefix("recipe_").partition("=")
        recipe, chosen = next(
            (recipe, both.removeprefix(f"{recipe}_")) for recipe in RECIPES if both.startswith(f"{recipe}_")
        )
        overrides = [f"experiment={recipe}", f"{group}={chosen}"]
    if option in ("frontend=signal", "frontend=millivolts"):
        with pytest.raises(ConfigError, match="frontend=signal makes no image"):
            configure(option)
        return
    if option == "data=checkpoint":
        with pytest.raises(HydraException) as caught:
            configure(option)
        assert "data=checkpoint: this program cannot use that option" in explain(caught.value)
        return
    if option == "data=ptbxl":
        for table in ("ptbxl_database.csv", "scp_statements.csv"):
            (tmp_path / table).touch()
        overrides.append(f"data.root={tmp_path}")
    if option == "data=folder":
        (tmp_path / "table.csv").touch()
        overrides += [f"data.root={tmp_path}", "data.table=table.csv"]
    if option == "model=custom":
        monkeypatch.setenv("ECG_LIGHTNING_TRUST", "own_network")
        overrides.append("model.network=own_network:make")
    cfg = configure(*overrides)
    text = OmegaConf.to_yaml(OmegaConf.structured(cfg))
    targets = {*re.findall(r"_target_: (\S+)", text), *targets_of({*re.findall(r" kind: (\S+)", text)})}
    assert all(resolve(target, object, option) for target in targets)


@pytest.mark.parametrize("model", sorted(set(TINY) - SIGNAL_MODELS))
def test_a_model_brings_its_front_end_and_the_command_line_wins(model):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert "size" in compose("train", overrides=[f"model={model}"]).frontend
        assert "size" not in compose("train", overrides=[f"model={model}", "frontend=signal"]).frontend


@pytest.mark.parametrize("model", sorted(TINY))
def test_the_demo_suits_every_model(configure, model):
    frontend = configure("experiment=demo", f"model={model}").frontend
    assert getattr(frontend, "size", None) == (None if model in SIGNAL_MODELS else [32, 256])


REFUSED = {
    "modle.depth=3": ["modle.depth", "Did you mean model.depth?"],
    "model.optimizer.lrr=1": ["model.optimizer.lrr", "lr, weight_decay", "Did you mean lr?"],
    "model.optimizer.lr=abc": ["model.optimizer.lr=abc: must be a number"],
    "data.batch_size=1.5": ["data.batch_size=1.5: must be a whole number"],
    "model=effnet": [
        "model=effnet",
        "beit_base, convnext, custom, deit, deit_base, effnet_b0, effnetv2, ensemble, inception1d, inception_v3, lstm, "
        "lstm_bidir, repvgg_a0, resnet10t, ",
        "resnet18d, resnet1d, resnet1d_wang, s4d, swin_tiny, timm, vit, vit1d, vit_base, xresnet1d101, xresnet1d18, "
        "xresnet1d50",
        "Did you mean effnetv2?",
    ],
    "hardware=gpu": ["hardware=gpu", "cpu, cuda"],
    "experiment=dmeo": ["experiment=dmeo", "Did you mean demo?"],
    "data.label_rule=benchmrk": ["data.label_rule=benchmrk", "benchmark, ge50, eq100", "Did you mean benchmark?"],
    "data.batch_size=-3": ["data.batch_size=-3", "at least 1"],
    "data.sampling_rate=250": ["data.sampling_rate=250", "100, 500"],
    "model.optimizer.lr=0": ["model.optimizer.lr=0", "greater than 0"],
    "model.dropout=1.5": ["model.dropout=1.5", "at most 0.99"],
    "hardware.precision=fp16": ["hardware.precision=fp16", "auto, 32-true, bf16-mixed"],
    "frontend.size=abc": ["frontend.size=abc", "[height,width]"],
    "frontend.size=[1,2,3]": ["frontend.size", "[height,width]"],
    "data.val_folds=[8]": ["data.train_folds and data.val_folds share fold 8"],
    "data.test_folds=[11]": ["data.test_folds=[11]", "from 1 to 10"],
    "data=ptbxl data.root=/no/such/folder": ["/no/such/folder does not exist", "nothing was downloaded"],
    "data=folder data.root=/no": ["data=folder needs data.root=DIR, the folder of the records, and data.table=FILE"],
    "data=folder data.root=/no data.table=x.csv": ["/no does not exist. Name the folder that holds the records"],
    "data=folder data.root=/tmp data.table=x.csv": ["/tmp/x.csv is not there. Name the CSV table of the records"],
    "data=folder data.sampling_rate=20": ["data.sampling_rate=20", "at least 50"],
    "data=folder data.record_units=V": ["data.record_units=V", "mV, uV"],
    "data=folder data.root=/tmp data.table=. data.class_map={MI:x}": ["only applies with train=false. Remove it"],
    "train=false": ["ckpt_path=FILE"],
    "train=false test=false": ["nothing to do"],
    "model.alpha=2": ["model.alpha=2", "at most 1"],
    "model.alpha=0.3": ["model.alpha=0.3 only applies with a teacher", "model.teacher=FILE"],
    "model=resnet1d model.window_s=2 model.stride_s=3": [
        "model.stride_s=3",
        "model.window_s=2",
        "Set model.stride_s to at most",
    ],
    "model=ensemble model.loss=argmax_cross_entropy": ["model.loss: the chosen model has no such key", "have it: vit"],
    "model=resnet1d_wang model.scheduler.warmup=1": ["model.scheduler.warmup=1", "below 1"],
    "callbacks.early_stopping.monitor=val/loss": [
        "monitor=val/loss with mode=max",
        "callbacks.early_stopping.mode=min",
    ],
    "callbacks.early_stopping.mode=min": ["monitor=val/f1_macro with mode=min", "callbacks.early_stopping.mode=max"],
    "model=ensemble model.teacher=x.ckpt": ["model.teacher: the chosen model has no such key", "have it: vit, deit"],
    "model=ensemble model.weights=w.pth": ["model.weights: the chosen model has no such key", "have it: vit, deit"],
    "model.kind=deit model=vit": ["model.kind=deit: allowed are vit"],
    "monitor=val/los": ["monitor=val/los", "val/f1_macro"],
    "trainer.limit_val_batches=0": ["trainer.limit_val_batches=0", "at least 1 batch"],
    "+model.foo=1": ["model.foo: there is no such key"],
    "+trainer.max_epoch=1": ["trainer.max_epoch: there is no such key", "Did you mean max_epochs?"],
    "seed=5000000000": ["seed=5000000000", "at most"],
    "data.val_folds=9": ["data.val_folds=9", "list"],
    "trainer.extra.limit=2": ["trainer.extra has no such key yet", "Add it with +trainer.extra.limit=VALUE"],
    "trainer.max_time=2h": ["trainer.max_time=2h", "DD:HH:MM:SS"],
    "trainer.limit_val_batches=1.5": ["trainer.limit_val_batches=1.5", "share"],
    "model=resnet1d frontend=matrix": ["model=resnet1d needs the signal", "frontend=signal"],
    "model=resnet18d frontend=signal": ["frontend=signal makes no image", "frontend=matrix"],
    "model=resnet1d frontend.size=64": ["frontend.size", "these options have it: matrix"],
    "model=resnet18d model.variant=resnet18t": ["model.variant=resnet18t", "Did you mean resnet18?"],
    "callbacks.snapshots=4": ["callbacks.snapshots=4", "trainer.max_epochs=30", "evenly"],
    "callbacks.snapshots=30": ["callbacks.snapshots=30", "trainer.max_epochs=30", "twice"],
    "model.scheduler.cycles=3 model=resnet1d_wang": ["model.scheduler.cycles=3", "model.scheduler.name=cosine"],
    "model.scheduler.cycles=10": ["model.scheduler.warmup=0.1", "below 0.1"],
    "model.optimizer=adamw": ["model.optimizer=adamw: holds name, lr,", "model.optimizer.name=VALUE"],
    "data.root=[a,b]": ["data.root=['a', 'b']: must be text"],
    "frontend.augmentation=mild": ["frontend.augmentation=mild: this names an option", "frontend/augmentation=mild"],
    "data.train_folds=1": ["data.train_folds=1: must be a list, as in data.train_folds=[1]"],
    "data.train_folds=[a]": ["data.train_folds[0]=a: must be a whole number"],
    "hydra.sweeper.n_trials=4": ["hydra.sweeper.n_trials: only a search by Optuna", "hydra/sweeper=optuna"],
    "hydra/launcher=joblib": ["hydra/launcher=joblib is not installed", "pip install hydra-joblib-launcher"],
    "model=vit,deit": ["model=vit,deit: several values need a sweep. Add -m"],
    "model=choice(vit)": ["model=choice(vit): several values need a sweep. Add -m"],
    "modle/x=1": ["modle/x: there is no such group; known are callbacks", "Did you mean model?"],
    "modle=vit": ["modle: there is no such key", "Did you mean model?"],
    "seed=null": ["seed=null: it cannot be null"],
    "model=null": ["model=null: name an option"],
    "lr=1e-3": ["lr: there is no such key. Did you mean model.optimizer.lr?"],
    "epochs=5": ["epochs: there is no such key. Did you mean trainer.max_epochs?"],
    "batch_size=8": ["Did you mean data.batch_size?"],
    "optimizer.lr=1e-3": ["optimizer.lr: there is no such key. Did you mean model.optimizer.lr?"],
    "model.lr=1e-3": ["Did you mean model.optimizer.lr?"],
    "device=cuda": ["Did you mean hardware=cuda or hardware=cpu?"],
    "train_folds=1": ["Did you mean data.train_folds?"],
    "expriment=demo": ["Did you mean experiment?"],
    "model=resnet50": ["Did you mean resnet18d (on images), resnet1d_wang or xresnet1d50 (on signals)?"],
    "model vit": ["model vit: a setting is written with =. Write model=vit"],
    "model=vit epochs 5": ["epochs 5: a setting is written with =. Write epochs=5"],
    "modelvit": ["modelvit: this is not a setting. Write key=value", "a value with spaces needs quotes"],
    "data.val_folds=[8": ["data.val_folds=[8: brackets and quotes in a list must match"],
    "a:b=3": ["a:b=3: this cannot be read as key=value"],
    "task_name=${nothing}": ["task_name=${nothing}: there is no setting nothing"],
    "data.root=${oc.env:NO_SUCH_VARIABLE}": ["data.root", "NO_SUCH_VARIABLE"],
    "callbacks.extra.ema.decay=0.9": ["callbacks.extra.ema: no such callback was chosen", "callbacks=ema"],
    "callbacks=none callbacks.early_stopping.patience=3": [
        "callbacks.early_stopping is off with callbacks=none. Drop callbacks=none, or turn it on with ",
        "callbacks.early_stopping={patience:3}",
    ],
    "experiment=augmented model=resnet1d +callbacks.early_stopping.patience=3": [
        "is off in recipe/benchmark.yaml. Turn it on with callbacks.early_stopping={patience:3}"
    ],
    "callbacks.extra=null callbacks.extra.x.y=1": ["Drop callbacks.extra=null, or", "callbacks.extra={x:{y:1}}"],
    "~callbacks.early_stopping": ["a key cannot be removed. Write callbacks.early_stopping=null, or leave it out"],
    "data.train_folds.x=1": ["data.train_folds holds a list and no keys. Write data.train_folds=VALUE"],
    "model.ema.decay=0.9": ["Did you mean callbacks=ema?"],
    "logger=none logger.tensorboard.x=1": ["logger=tensorboard and logger=csv bring one logger each"],
    "compression=ptq compression.deploy=false": ["compression.deploy=false skips compression.stages.quantize"],
    "compression=none train=false ckpt_path=x": ["compression needs a training", "compress.py"],
    "compression=none cross_validation=[8]": ["Keep train=true and compression=off"],
    "model.optimizer.lr=1e9999": ["model.optimizer.lr=inf: must be a finite number"],
    f"data.n_records={10**30}": ["data.n_records: must be between"],
    f"data.n_records={'9' * 5000}": ["data.n_records=999"],
    "trainer.overfit_batches=two": ["trainer.overfit_batches=two", "whole number of batches"],
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_mistakes_are_named_with_a_way_out(configure, overrides):
    with pytest.raises((HydraException, OmegaConfBaseException, UserError)) as caught:
        configure(*overrides.split(" "))
    sentence = explain(caught.value, typed=overrides.split(" "))
    assert "\n" not in sentence
    for part in REFUSED[overrides]:
        assert part in sentence


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.max_epochs=3", "Set compression.fine_tune.epochs"),
        ("monitor=val/f1_macro", "Set compression.fine_tune.monitor"),
        ("hardware.compile=true", "only fine-tunes its stages. Remove it"),
        ("trainer.limit_val_batches=0", "Set at least 1 batch"),
        ("compression.stages.quantize.epochs=5", "epochs"),
        ("compression.deploy=false", "leaves compress.py nothing to do"),
        ("model.depth=3", "the checkpoint sets this in compress.py"),
        ("lr=1e-4", "Did you mean compression.fine_tune.lr?"),
        ("epochs=2", "Did you mean compression.fine_tune.epochs?"),
    ],
)
def test_keys_that_would_do_nothing_are_refused_by_compress(configure_compression, override, said):
    with pytest.raises((HydraException, OmegaConfBaseException, UserError)) as caught:
        configure_compression("ckpt_path=x.ckpt", "compression=ptq", override)
    assert said in explain(caught.value, "compress")


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        (launching.train, "--epochs 3", "--epochs: there is no such option; a setting is written KEY=VALUE"),
        (launching.train, "model=vit --batch-size=8", "Did you mean data.batch_size=8?"),
        (launching.train, "--model vit", "Did you mean model=VALUE?"),
        (launching.train, "--cfg all-of-it", "invalid choice: 'all-of-it'"),
        (launching.compress, "--epochs=3", "Did you mean compression.fine_tune.epochs=3?"),
    ],
)
def test_an_unknown_option_is_one_sentence(program, arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        program(arguments.split())
    told = capsys.readouterr().err
    assert caught.value.code == UserError.exit_code
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("key", ["alpha=0.1", "optimizer.lr=0.003", "scheduler.warmup=0.3", "teacher=x.ckpt"])
def test_keys_of_a_student_that_would_do_nothing_are_refused(configure_compression, key):
    student = "compression.stages.distill.student"
    with pytest.raises(ConfigError, match=rf"{student}\.{key} has no effect.*Set compression\.stages\.distill\.alpha"):
        configure_compression("ckpt_path=x.ckpt", "compression=distill", f"{student}.{key}")
    configure_compression("ckpt_path=x.ckpt", "compression=distill", f"{student}.optimizer.weight_decay=0.1")


def test_folds_that_a_phase_does_not_need_may_overlap(configure):
    assert configure("train=false", "ckpt_path=x", "data.test_folds=[9]").data.test_folds == [9]
    assert configure("test=false", "data.val_folds=[10]").data.val_folds == [10]


@pytest.mark.parametrize(
    ("model", "precision"), [("xresnet1d101", "32-true"), ("xresnet1d50", "32-true"), ("resnet1d_wang", "auto")]
)
def test_networks_that_bfloat16_leads_astray_train_in_fp32(configure, model, precision):
    for hardware in ("cpu", "cuda"):
        assert configure(f"model={model}", f"hardware={hardware}").hardware.precision == precision
    assert configure(f"model={model}", "hardware.precision=bf16-mixed").hardware.precision == "bf16-mixed"


def test_a_mapping_turns_on_what_is_off(configure):
    cfg = configure("callbacks=none", "callbacks.early_stopping={patience: 3}", "monitor=val/auroc_macro")
    assert vars(cfg.callbacks.early_stopping) == {
        "monitor": "val/auroc_macro", "mode": "max", "patience": 3, "min_delta": 0.0,
    }  # fmt: skip


def test_one_batch_stays_one_batch(configure):
    assert str(configure("trainer.overfit_batches=1").trainer.overfit_batches) == "1"
    assert str(configure("trainer.limit_train_batches=1.0").trainer.limit_train_batches) == "1.0"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("model.optimizer.lr=abc", "must be a number"),
        ("data=ptbxl data.root=/no,dir", "error: /no,dir does not exist"),
        ("hydra.run.dirr=x", "Did you mean dir?"),
        ("seed=1,2", "Add -m"),
        ("hardware.devices=2", "trains on one device"),
        ("ckpt_path=no.ckpt", "ckpt_path=no.ckpt is not there. Name a checkpoint"),
        ("ckpt_path=README.md", "ckpt_path=README.md is no checkpoint"),
        ("model.weights=src", "model.weights=src is a folder. Name a file of weights"),
        ("model.teacher=README.md", "model.teacher=README.md is no checkpoint"),
        ("model=ensemble", "model=ensemble without model.members"),
        ("model=ensemble model.members=[no.ckpt]", "model.members=no.ckpt is not there"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_fast_line(argument, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", *argument.split(" "), f"hydra.run.dir={tmp_path}/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stderr.splitlines()
    (said,) = (line for line in lines if not line.startswith("import time:"))
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "hydra.main" in imported
    assert not imported & {"torch", "lightning", "timm", "torchvision"}  # each alone would take longer than a second
    assert done.returncode in (2, 3)
    assert said.startswith("error: ")
    assert message in said
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(("start", "other", "own"), [("multirun", "run", "sweep"), ("run", "sweep", "run")])
def test_a_folder_without_effect_is_told(capsys, tmp_path, start, other, own):
    folders = {"run": {"dir": f"{tmp_path}/r"}, "sweep": {"dir": f"{tmp_path}/s"}, "output_subdir": None}
    typed = [f"hydra.{other}.dir=x", "hydra.searchpath=[y]"]
    node = {**folders, "launcher": {"_target_": "a.ProcessLauncher"}, "overrides": {"hydra": typed}}
    getattr(SweepReport(), f"on_{start}_start")(OmegaConf.create({"hydra": node}))
    told = capsys.readouterr().err
    assert told.startswith(f"warning: hydra.{other}.dir=x has no effect on ")
    assert told.endswith(f"Use hydra.{own}.dir=DIR\n")


def test_checking_a_configuration_does_not_load_pytorch():
    program = (
        "import sys; import ecg_lightning.commands.launching, ecg_lightning.commands.cli; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("model", sorted(TINY))
def test_the_keys_that_users_type_stay(configure, model):
    cfg = OmegaConf.structured(configure(f"model={model}"))
    missing = object()
    gone = [key for key in FROZEN_KEYS if OmegaConf.select(cfg, key, default=missing) is missing]
    assert gone == (["frontend.size"] if model in SIGNAL_MODELS else [])


def test_the_options_that_users_type_stay():
    expected = {
        "data=ptbxl", "data=synthetic", "data=folder", "frontend=matrix", "frontend=signal", "frontend=strips",
        "model=vit", "model=deit",
        "model=deit_base", "model=effnetv2", "model=convnext", "model=resnet18d", "model=resnet10t", "model=repvgg_a0",
        "model=resnet1d", "compression=none", "compression=off", "hardware=cpu", "hardware=cuda",
        "logger=tensorboard", "logger=csv", "logger=none", "callbacks=default", "callbacks=none", "experiment=demo",
        "experiment=original_vit", "experiment=original_deit", "experiment=original_effnetv2",
        "experiment=original_effnetv2_no_early_stopping", "experiment=original_convnext", "debug=fdr", "debug=limit",
        "debug=overfit", "debug=profiler", "hparams_search=learning_rate", "trainer=default", "paths=default",
    }  # fmt: skip
    assert expected <= set(OPTIONS)


@pytest.mark.parametrize("space", sorted((ROOT / "conf" / "hparams_search").glob("*.yaml")), ids=lambda path: path.stem)
def test_search_spaces_are_of_keys_that_there_are(configure, space):
    model = "resnet1d_wang" if "signal" in space.stem else "deit"
    cfg, missing = OmegaConf.structured(configure(f"hparams_search={space.stem}", f"model={model}")), object()
    for key in OmegaConf.load(space).hydra.sweeper.params:
        assert OmegaConf.select(cfg, key, default=missing) is not missing, key
    assert not cfg.test
    assert {fold for group in fold_groups(cfg.cross_validation) for fold in group} <= {*cfg.data.train_folds}


PATHS = {  # typed, beside folders "a,b", "ä (1)" and "c": the value that Hydra reads, or those of a sweep
    "data.root=~/x": f"{Path.home()}/x",
    "data.root=PTB XL (1.0.3)": "PTB XL (1.0.3)",
    "data.root=a,b": "a,b",
    "data.root=ä (1)": "ä (1)",
    "-m data.root=a,b": "a,b",
    "data.root=~/no,c": f"{Path.home()}/no,c",
    "-m data.root=~/no,c": [f"{Path.home()}/no", "c"],
    "data.root=c,ä (1)": ["c", "ä (1)"],
    "data.root=[a],{b,": "[a],{b,",
    "data.root=1e5": "1e5",
    "data.root=null": None,
    "data.root='c d'": "c d",
    "+data.cache_dir=c d": "c d",
    "ckpt_path=epoch=3.ckpt": "epoch=3.ckpt",
    "-m ckpt_path=x.ckpt,b=2.ckpt": ["x.ckpt", "b=2.ckpt"],
    "ckpt_path=choice(x,y)": ["x", "y"],
    "model.weights=it's": "it's",
    "model.weights=[x] b=": "[x] b=",
    "model.teacher=[x,y]": ["x", "y"],
    "model.members=[~/x.ckpt,c (1).ckpt]": [f"{Path.home()}/x.ckpt", "c (1).ckpt"],
    "hydra.run.dir=c,d": "c,d",
    "-m hydra.sweep.dir=c,d": "c,d",
    "compression.stages.distill.student.weights=x,y": "x,y",
    "hydra.sweep.dir=${task_name}/c": "${task_name}/c",
    "paths.output_dir=ä": "ä",
    "model=vit,deit": ["vit", "deit"],
}


@pytest.mark.parametrize("typed", PATHS)
def test_paths_need_no_quotes(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "ä (1)", "c"):
        (tmp_path / name).mkdir()
    (argument,) = quote_paths([typed.removeprefix("-m ")], swept=typed.startswith("-m "))
    parsed = OverridesParser.create().parse_override(argument)
    value = parsed.value()
    if parsed.is_sweep_override():
        assert [getattr(one, "text", one) for one in value.list] == PATHS[typed]
    else:
        assert value == PATHS[typed]


QUOTED = [
    "epoch=3.ckpt",
    "a b=c",
    "ä/ü",
    "日本",
    "a(b)",
    "a,b=c",
    "~/x",
    "it's",
    'a"b',
    "a;b&c|d>e<f",
    "a#b",
    "a\\'b",
    "[a] b=",
    "'",
]


@pytest.mark.parametrize("value", [*QUOTED, "a'b\\", "\\\\'", "C:\\a'b\\"])
@pytest.mark.parametrize("key", ["ckpt_path", "data.root", "hydra.run.dir"])
def test_values_that_need_quotes_are_given_back_quoted(configure, key, value):
    with pytest.raises(HydraException) as caught:
        configure(f"{key}={value}")
    sentence = explain(caught.value)
    if value.startswith("["):
        assert "brackets" in sentence
        return
    command = sentence.partition(" needs quotes. Write it as ")[2]
    (argument,) = shlex.split(command)
    parsed = OverridesParser.create().parse_override(argument)
    assert (parsed.key_or_group, parsed.value()) == (key, value)


def test_the_choice_of_compression_is_a_field(configure):
    """Two runs with equal settings do the same: nothing else may tell them apart."""
    trained, deployed, typed = configure(), configure("compression=none"), configure("compression=off")
    assert (trained.compression.deploy, deployed.compression.deploy) == (False, True)
    assert typed == trained
    assert configure("compression.deploy=true") == deployed


@pytest.mark.parametrize("deploy", [False, True])
def test_the_field_decides_what_follows_a_training(configure, monkeypatch, deploy):
    """And not the command line, on which the default may have been typed."""
    typed = ["compression=none", "+compression=prune"]
    monkeypatch.setattr(launching, "run_job", lambda cfg, run, validate, raising: run(cfg, {}, [] if deploy else typed))
    monkeypatch.setattr(launching.HydraConfig, "get", lambda: SimpleNamespace(mode=RunMode.RUN))
    monkeypatch.setattr("ecg_lightning.compression.run.run_after_training", lambda *arguments: "deployed")
    monkeypatch.setattr("ecg_lightning.training.run.run", lambda *arguments: "trained")
    done = launching._train_job(configure(f"compression.deploy={deploy}"))
    assert done == ("deployed" if deploy else "trained")


@pytest.fixture
def own_experiment(tmp_path, configure):
    """Compose an experiment of a user's own, in a folder of their own."""

    def make(text, *overrides):
        (tmp_path / "experiment").mkdir(exist_ok=True)
        (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
        return configure(f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", *overrides)

    return make


def test_an_experiment_inherits_the_recipe_of_its_base(own_experiment):
    for base in ("benchmark", "augmented"):
        cfg = own_experiment(f"defaults: [{base}]", "model=lstm")
        assert (cfg.model.optimizer.lr, cfg.trainer.gradient_clip_val) == (1e-3, 0.25)
    cfg = own_experiment("defaults: [benchmark, _self_]\nmodel: {optimizer: {lr: 2e-3}}", "model=lstm")
    assert (cfg.model.optimizer.lr, cfg.trainer.gradient_clip_val) == (2e-3, 0.25)  # its own settings win
    cfg = own_experiment("defaults: [demo]", "model=vit", "compression=distill")
    assert (cfg.model.depth, list(cfg.frontend.size), cfg.data.n_records) == (4, [32, 256], 1000)
    assert cfg.compression.stages["distill"].student.width == 0.25


def test_an_experiment_of_ones_own_has_a_recipe_of_its_own(own_experiment, tmp_path):
    for folder, name, text in (
        ("recipe", "mine", "trainer: {max_epochs: 7}"),
        ("recipe_model", "mine_lstm", "model: {hidden: 8}"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")
    cfg = own_experiment("defaults: [{override /recipe: mine}, {override /model: lstm}]")
    assert (cfg.trainer.max_epochs, cfg.model.hidden) == (7, 8)


@pytest.mark.parametrize(
    ("experiment", "model"),
    [
        *(("benchmark_resnet1d_wang", "resnet1d_wang"), ("benchmark_xresnet1d101", "xresnet1d101")),
        *(("deit_224", "deit"), ("vit1d_stem", "vit1d"), ("ema_resnet1d_wang", "resnet1d_wang")),
        *(("searched_resnet1d_wang", "resnet1d_wang"), ("original_vit", "vit"), ("original_deit", "deit")),
        *(
            ("original_effnetv2", "effnetv2"),
            ("original_effnetv2_no_early_stopping", "effnetv2"),
            ("original_convnext", "convnext"),
        ),
        *(("demo", None), ("benchmark", None), ("augmented", None)),
    ],
)
def test_an_experiment_says_which_model_it_is_for(configure, experiment, model):
    assert configure(f"experiment={experiment}").for_model == model
    check_experiment(model, {"experiment": experiment, "model": model or "vit"})


@pytest.mark.parametrize(("old", "new"), RENAMED_EXPERIMENTS.items())
def test_a_former_name_of_an_experiment_composes_to_the_same_configuration(configure, old, new):
    assert configure(f"experiment={old}") == configure(f"experiment={new}")


def test_a_former_name_of_an_experiment_says_that_it_is_renamed(command, tmp_path):
    done = command("experiment=seed_vit", "data=ptbxl", "data.root=nowhere", f"hydra.run.dir={tmp_path}/run")
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "experiment=seed_vit is now called" in line]
    assert len(lines) == 1
    assert "original_vit" in lines[0]


def test_an_experiment_for_one_model_is_refused_with_another(own_experiment):
    for name in ("distill_from_vit", "lstm_teacher", "s4d_vs_vit"):  # names say nothing
        check_experiment(None, {"experiment": name, "model": "resnet1d"})
    cfg = own_experiment("defaults: [deit_224]", "model=vit")
    with pytest.raises(
        ConfigError,
        match=r"^`experiment=mine` configures `model=deit` and cannot be combined with `model=vit`. Drop `model=`, or",
    ):
        check_experiment(cfg.for_model, {"experiment": "mine", "model": "vit"})


def test_each_refused_composition_gets_its_sentence(monkeypatch, capsys):
    """In one process, as `reproduce` composes them; and Hydra's switch is left as it was."""
    for switch in ("0", None):
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        if switch:
            monkeypatch.setenv("HYDRA_FULL_ERROR", switch)
        for wrong in ("modle.depth=3", "seed=x", "model=vitt"):
            with pytest.raises(SystemExit) as stop:
                launching.train([wrong])
            assert stop.value.code == 2
            assert capsys.readouterr().err.startswith(f"error: {wrong.partition('.')[0]}")
            assert os.environ.get("HYDRA_FULL_ERROR") == switch


SEED_RECIPES = {  # (image, channels, dropout, drop path, loss), (optimizer, rate, decay, pretrained, early stopping)
    "vit": (([182, 256], 1, 0.1, 0.0, "bce"), ("adam", 1e-4, 0.0, False, True)),
    "deit": ((224, 1, 0.2, 0.0, "bce"), ("adam", 1e-4, 0.0, False, True)),
    "effnetv2": ((224, 3, 0.2, 0.2, "bce"), ("adam", 1e-3, 0.0, True, True)),
    "effnetv2_no_early_stopping": ((224, 3, 0.2, 0.2, "bce"), ("adam", 1e-3, 0.0, True, False)),
    "convnext": ((224, 3, 0.2, 0.0, "argmax_cross_entropy"), ("adamw", 4e-3, 0.05, False, True)),
}


@pytest.mark.parametrize("name", SEED_RECIPES)
def test_seed_recipes_are_the_seeds(configure, name):
    image_and_loss, recipe = SEED_RECIPES[name]
    cfg = configure(f"experiment=seed_{name}")
    size = cfg.frontend.size if isinstance(cfg.frontend.size, int) else list(cfg.frontend.size)
    optimizer, stopping = cfg.model.optimizer, cfg.callbacks.early_stopping
    assert (size, cfg.frontend.channels, cfg.model.dropout, cfg.model.drop_path, cfg.model.loss) == image_and_loss
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay, cfg.model.pretrained, stopping is not None) == recipe
    assert (cfg.frontend.normalization, cfg.frontend.mean, cfg.frontend.std) == ("fixed", 0.5, 0.5)
    assert cfg.frontend.rows == "time"
    assert set(vars(cfg.frontend.augmentation).values()) == {0.0}
    assert cfg.model.scheduler.name == "constant"
    assert cfg.data.batch_size == 32
    assert cfg.trainer.gradient_clip_val is None
    assert cfg.hardware.precision == "32-true"
    assert cfg.trainer.max_epochs == (20 if stopping else 10)
    if stopping:
        assert (stopping.patience, stopping.monitor) == (3, "val/f1_macro")


def test_the_seeds_transformers_have_its_shapes(configure):
    vit, deit = (configure(f"experiment=seed_{name}").model for name in ("vit", "deit"))
    assert (vit.patch_size, vit.dim, vit.depth, vit.heads, vit.mlp_dim) == (8, 256, 6, 4, 1024)
    assert vit.attention_dropout == 0.1
    assert (deit.variant, deit.patch_size, deit.alpha) == ("tiny", 16, 0.5)


TARGETS = [
    "os.system",
    "torch.load",
    "builtins.eval",
    "ecg_lightning.checkpoints.loading.torch.load",
    "ecg_lightning.data.datamodule.Path",
    "ecg_lightning.nothing.X",
    "lightning.pytorch.callbacks.os.system",
    7,
    None,
]


@pytest.mark.parametrize("target", TARGETS)
def test_only_our_classes_are_built(target):
    with pytest.raises(ConfigError, match="frontend"):
        build({"_target_": target}, Frontend, "frontend")
    for key in ("kind", "_target_"):
        with pytest.raises(ConfigError, match=r"frontend\.kind=.*known are signal, matrix, strips"):
            build_frontend({key: target}, n_samples=1000)


def test_unknown_settings_of_a_class_are_refused():
    with pytest.raises(ConfigError, match=r"frontend\.colour: there is no such key"):
        build_frontend({"kind": "signal", "colour": "red"}, n_samples=1000)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"std": "1"}, "frontend.std=1: this value is of the wrong type"),
        ({"std": 0}, "frontend.std=0: must be greater than 0.0"),
        ({"augmentation": {"tempo": True}}, "frontend.augmentation.tempo=True: this value is of the wrong type"),
        ({"normalization": "lea"}, "frontend.normalization=lea: allowed are lead, global, fixed. Did you mean lead?"),
    ],
)
def test_values_of_a_strangers_checkpoint_are_checked(settings, said):
    with pytest.raises(ConfigError) as caught:
        build_frontend({"kind": "signal", **settings}, n_samples=1000)
    assert str(caught.value) == said


def _repeated(node, default, key=""):
    """Yield the keys of a file's content that have their schema's default."""
    for name, value in node.items():
        own = getattr(default, name, None)
        if isinstance(value, dict) and value:
            yield from _repeated(value, own, f"{key}.{name}")
        elif value is not None and hasattr(default, name) and own == value:  # null says that something is off
            yield f"{key}.{name}"


@pytest.mark.parametrize("group", ["model", "frontend", "data", "hardware", "trainer", "callbacks", "compression"])
def test_no_option_repeats_a_default_of_its_schema(group):
    """Such a default would be written down twice."""
    for path in (CONF / group).rglob("*.yaml"):
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
        bases = [one for one in content.pop("defaults", []) if one != "_self_"]
        default = getattr(TrainConfig(), group)
        for named in (named for one in bases for named in (one if isinstance(one, dict) else [one])):
            if named.startswith(f"/schema/{group}/"):
                default = SCHEMAS[group][named.split("@")[0].rpartition("/")[2]]()
        if path.parent.name != group:
            default = getattr(default, path.parent.name, None)
        is_whole = all(not isinstance(one, str) or one.startswith("/") for one in bases)  # no option above it
        assert not ([*_repeated(content, default)] if is_whole else []), path


SCHEMA_ROOTS = [TrainConfig, CompressConfig, *(one for options in SCHEMAS.values() for one in options.values())]


def _settings(schema):
    hints = get_type_hints(schema)
    for entry in dataclasses.fields(schema):
        nested = [one for one in (hints[entry.name], *get_args(hints[entry.name])) if dataclasses.is_dataclass(one)]
        if not entry.metadata:
            assert nested, f"{schema.__name__}.{entry.name} is no setting()"
        yield from (inner for one in nested for inner in _settings(one))
        yield schema, entry


@pytest.mark.parametrize("schema", SCHEMA_ROOTS)
def test_each_setting_is_explained_in_one_line(schema):
    for owner, entry in _settings(schema):
        told = entry.metadata.get("help", "")
        if entry.metadata:
            assert 0 < len(told) <= 100, (owner.__name__, entry.name)
            assert "\n" not in told


@pytest.mark.parametrize("former", [*_FORMER])
def test_a_component_is_built_by_the_class_path_of_an_earlier_version(former):
    """Of which `registry` knows the name, and the class that it names today."""
    group = former.split(".")[1].removesuffix("s").replace("compression", "stage")
    schema = schema_of(group, {"_target_": former}, group)
    today = former.rpartition(".")[2].replace("SyntheticPTBXLDataModule", "SyntheticSource")
    today = today.replace("PTBXLDataModule", "PTBXLSource")  # a source, on which every data module is made
    assert resolve(schema.target, object, group).__name__ == today
    assert renamed({"a": [{"_target_": former}]}) == {"a": [{"kind": schema.kind}]}


@pytest.mark.parametrize(("former", "today"), [*_MOVED.items()])
def test_a_callback_is_found_by_its_former_class_path(former, today):
    assert f"{resolve(former, object, 'callbacks.extra.x').__module__}.{former.rpartition('.')[2]}" == today
