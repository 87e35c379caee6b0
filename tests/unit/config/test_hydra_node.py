"""A stranger's configuration file runs no code and writes nowhere through Hydra's own node, nor eats the machine."""

import os
import subprocess
import sys
import textwrap
import time

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from tiny import ROOT

from ecg_lightning.checkpoints.building import build_callbacks, build_loggers
from ecg_lightning.config.composition_errors import explain
from ecg_lightning.config.hydra_node import check_hydra_node
from ecg_lightning.config.safe_composition import CheckedConfigLoader
from ecg_lightning.errors import ConfigError
from ecg_lightning.results.results import DataError, read_config
from ecg_lightning.system import bounded_yaml

CALLABLES = [
    *("torch.load", "pandas.read_pickle", "joblib.load", "pathlib.Path.write_text", "urllib.request.urlretrieve"),
    *("os.system", "shutil.rmtree", "ecg_lightning.checkpoints.loading.torch.load", "posix.system", "builtins.eval"),
    *(
        "ecg_lightning.commands.sweep_callback.shutil.rmtree",
        "hydra.utils.instantiate",
        "functools.partial",
        ["os", "system"],
        None,
    ),
]


@pytest.fixture(scope="module")
def hydra_node():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("train", ["paths.output_dir=unused"], return_hydra_config=True)
        return OmegaConf.to_container(cfg.hydra, resolve=False)


def places(target):
    """A target at each node of Hydra's that is instantiated, and inside of its arguments."""
    call = {"_target_": target, "f": "FILE"}
    basic = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
    sweeper = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "max_batch_size": None}
    optuna = {"_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"}
    tpe = {"_target_": "optuna.samplers.TPESampler"}
    report = {"_target_": "ecg_lightning.commands.sweep_callback.SweepReport"}
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}
    log = {"version": 1, "root": {"handlers": ["h"]}, "handlers": {"h": handler}}
    yield from (
        {"callbacks": {"x": call}},
        {"callbacks": {"sweep_report": call}},
        {"callbacks": {"sweep_report": {**report, "x": [call]}}},
        {"callbacks": {"other": report}},
        {"launcher": call},
        {"launcher": {**basic, "x": {"y": [call]}}},
        {"launcher": {**basic, "_args_": [call]}},
        {"sweeper": call},
        {"sweeper": {**sweeper, "max_batch_size": call}},
        {"sweeper": {**optuna, "sampler": call}},
        {"sweeper": {**optuna, "sampler": {**tpe, "seed": call}}},
        {"sweeper": {**optuna, "sampler": tpe, "storage": call}},
        {"sweeper": {**optuna, "sampler": tpe, "pruner": call}},
        {"job_logging": {**log, "handlers": {"h": {"()": target}}}},
        {"job_logging": {**log, "handlers": {"h": {"class": target}}}},
        {"job_logging": {**log, "handlers": {"h": {**handler, "formatter": {"()": target}}}}},
        {"hydra_logging": {**log, "formatters": {"f": {"()": target}}}},
        {"hydra_logging": {**log, "formatters": {"f": {"class": target}}}},
        {"job_logging": {**log, "filters": {"f": {"()": target}}}},
    )


@pytest.mark.parametrize("target", CALLABLES, ids=str)
def test_nothing_foreign_is_built_at_any_node(hydra_node, target):
    for changed in places(target):
        with pytest.raises(ConfigError, match=rf"^hydra\.{next(iter(changed))}\S*="):
            check_hydra_node(hydra_node | changed)


HANDLER = "job_logging.handlers.file"
REFUSED = {  # one key of Hydra's node: the beginning of the sentence
    "callbacks": "${logger}",
    "callbacks.x": "${logger.x}",
    "launcher": "${logger.x}",
    "launcher.x": "${logger.x}",
    "launcher._target_": "hydra_plugins.evil.Launcher",
    "launcher.setup": ["rm -rf /"],
    "launcher.partition": "cpu\nrm -rf /",
    "launcher.qos": "cpu${x}",
    "launcher.account": "${now:%n}touch x #",
    "launcher.comment": "${oc.decode:${x}}",
    "launcher.constraint": "cpu --output=x",
    "launcher.pre_dispatch": "9**9**9",
    "launcher.ray": {"init": {"runtime_env": {"pip": ["evil"]}}},
    "launcher.ray.remote": {"runtime_env": {"pip": ["evil"]}},
    "sweeper.params.x": "${hydra.runtime.choices.evil}",
    "sweeper.max_batch_size": "${hydra:runtime.choices.evil}",
    "sweeper.search_space": {"x": "${hydra.runtime.choices.evil}"},
    "sweeper.params.hydra.run.dir": "choice(x,y)",
    "sweeper.params.paths.output_dir": "choice(x,y)",
    "sweeper.params.+hydra.job.chdir": "true",
    "sweeper.direction": "sideways",
    "sweeper.params.seed": "[" * 10_000,
    "sweeper.params.n_tried": "range(0,1000000000)",
    "sweeper.params": {"seed": "range(0,10000)", "n_tried": "range(1.0,10000.0,0.5)"},
    "runtime.choices.evil": {"_target_": "os.system"},
    "runtime.choices.model": "${logger.x}",
    "sweeper._target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "sweeper.custom_search_space": "os.system",
    "sweeper.storage": "redis://host",
    "sweeper.sampler": "${logger.x}",
    "job_logging": "${logger.x}",
    "job_logging.handlers": "${logger.x}",
    "job_logging.root.handlers": ["ext://os.system"],
    "job_logging.root.level": "${logger.x}",
    "hydra_logging.formatters.simple.format": "cfg://handlers",
    "hydra_logging.formatters.simple.style": "ext://antigravity",
    f"{HANDLER}.filename": "/etc/passwd",
    f"{HANDLER}.class": "logging.handlers.RotatingFileHandler",
    f"{HANDLER}.mode": "w",
    f"{HANDLER}.delay": "ext://os.system",
    "job_logging.handlers.console.stream": "ext://os.environ",
    "job_logging.handlers.other": {"class": "logging.FileHandler"},
    "job_logging.loggers.x": {"filters": ["f"]},
    "job.name": "../../x",
    "job.env_set.LD_PRELOAD": "evil.so",
    "job.env_set.PYTHONPATH": "evil",
    "job.env_set.OMP_NUM_THREADS": "${oc.env:HOME}",
    "output_subdir": "../..",
}


def changed(node, key, value):
    first, _, rest = key.partition(".")
    return {**node, first: changed(node.get(first) or {}, rest, value) if rest else value}


@pytest.mark.parametrize("key", REFUSED)
def test_each_way_around_the_lists_is_closed(hydra_node, key):
    with pytest.raises(ConfigError, match=r"^hydra\."):
        check_hydra_node(changed(hydra_node, key, REFUSED[key]))


UNUSABLE = [  # what Hydra, or Python's logging, would answer with an exception, a sweep without cells, or nothing
    ("launcher", None, "hydra.launcher=null: a sweep needs a launcher"),
    ("sweeper", None, "hydra.sweeper=null: a sweep needs a sweeper"),
    ("sweeper.params.seed", "range(10,0)", "this sweep has no cell"),
    ("sweeper.params.seed", "range(0,inf)", "this sweep has no cell, or more than 100,000"),
    ("sweeper.params.seed", "range(0,1e308,1e-308)", "this sweep has no cell, or more than 100,000"),
    ("sweeper.params.seed", "range(0.0,1.0,0.0)", "this sweep has no cell, or more than 100,000"),
    ("verbose", "${hydra.runtime.choices}", "hydra.verbose=.*: give true, false, or a list"),
    ("verbose", {"a": "b"}, "hydra.verbose=.*: give true, false, or a list"),
    ("job_logging.version", 5, r"hydra.job_logging.version=5: it must be 1"),
    ("job_logging.root.level", "LOUD", "root.level=LOUD: allowed are CRITICAL"),
    ("job_logging.root.handlers", ["nowhere"], "root.handlers=nowhere: known are console, file"),
    ("job_logging.loggers.x", {"handlers": ["nowhere"]}, "loggers.x.handlers=nowhere: known are console, file"),
    ("job_logging.formatters.simple.format", "%(nothing)s", "simple: this format cannot write a line"),
    ("hydra_logging.formatters.simple.format", "%(message)999999999s", "simple: this format cannot write a line"),
]


@pytest.mark.parametrize(("key", "value", "said"), UNUSABLE, ids=range(len(UNUSABLE)))
def test_what_hydra_cannot_use_is_refused_in_words(hydra_node, key, value, said):
    with pytest.raises(ConfigError, match=said):
        check_hydra_node(changed(hydra_node, key, value))


@pytest.mark.parametrize("value", ["range(10,0)", "range(0,1000000000)", "range(0.0,1.0,0.0)"])
def test_a_swept_range_has_values_and_an_end(value):
    (parsed,) = OverridesParser.create().parse_overrides([f"seed={value}"])
    with pytest.raises(ConfigError, match="give from one to 100,000 values"):
        CheckedConfigLoader.validate_sweep_overrides_legal([parsed], RunMode.MULTIRUN, from_shell=True)


def test_what_this_project_and_its_readers_use_is_allowed(hydra_node):
    optuna = {"_target_": "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper", "storage": None}
    grid = {"_target_": "optuna.samplers.GridSampler", "_partial_": True}
    cmaes = {"_target_": "optuna.samplers.CmaEsSampler"}
    slurm = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
    folder = "${hydra.sweep.dir}/.submitit/%j"
    for key, value in {
        "callbacks": {},
        "sweeper": {**optuna, "sampler": grid, "storage": "sqlite:///search.db"},
        "sweeper.sampler": cmaes,
        "launcher": {"_target_": slurm, "name": "${hydra.job.name}", "submitit_folder": folder, "setup": None},
        "job_logging.root.level": "DEBUG",
        "job_logging.formatters.simple.format": "%(message)s",
        "job.env_set.OMP_NUM_THREADS": "1",
        "output_subdir": None,
    }.items():
        check_hydra_node(changed(hydra_node, key, value))
    stored = {**optuna, "sampler": cmaes, "storage": "sqlite:///search.db"}
    with pytest.raises(ConfigError, match="would unpickle it"):
        check_hydra_node(hydra_node | {"sweeper": stored})


def own(tmp_path, text, name="own"):
    """A configuration folder of a stranger's with one experiment."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (tmp_path / "conf" / "experiment" / f"{name}.yaml").write_text("# @package _global_\n" + textwrap.dedent(text))
    return str(tmp_path / "conf")


SAMPLER = "defaults: [{override /hydra/sweeper: optuna}, {override /hydra/sweeper/sampler: cmaes}]\n"
EVIL = "${hydra.runtime.choices.evil}"
OF_A_FILE = {  # a file from elsewhere: what is said of it
    "hydra: {runtime: {choices: {evil: {_target_: os.getcwd}}}}": "hydra.runtime is refused",
    "hydra: {overrides: {hydra: ['hydra.run.dir=x']}}": "hydra.overrides is refused",
    "hydra: {searchpath: ['pkg://antigravity']}": "hydra.searchpath is refused here",
    "hydra: {job: {env_copy: [HOME]}}": "hydra.job.env_copy is refused",
    "hydra: {run: {dir: x}}": "hydra.run is refused",
    "hydra: {sweep: {dir: x}}": "hydra.sweep is refused",
    "hydra: {sweep: {subdir: ../../x}}": "hydra.sweep is refused",
    SAMPLER + "hydra: {sweeper: {storage: 'sqlite:///x'}}": "hydra.sweeper.storage is refused",
    "hydra: {launcher: {submitit_folder: /etc}}": "hydra.launcher.submitit_folder is refused",
    "hydra: {launcher: {temp_folder: /etc}}": "hydra.launcher.temp_folder is refused",
    "paths: {output_dir: x}": "paths is refused",
    "data: {cache_dir: x}": "data.cache_dir is refused",
    "hydra: [1]": "hydra=[1]: it must be a mapping",
    "hydra: {job: '${logger}'}": "hydra.job=${logger}: it must be a mapping",
    "hydra: {sweeper: {params: {data.cache_dir: x}}}": "data.cache_dir is refused",
    "hydra: {sweeper: {params: {+data.root: x}}}": "data.root is refused",
    "data: {root: x}": "data.root is refused in a file from outside conf/, because synthetic data are written there",
    "hydra: null": "hydra=None: it must be a mapping",
    "hydra: 5": "hydra=5: it must be a mapping",
    "hydra: ${logger}": "hydra=${logger}: it must be a mapping",
}


@pytest.mark.parametrize("text", OF_A_FILE)
def test_a_file_from_elsewhere_chooses_no_folder(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        compose_own(own(tmp_path, text), "experiment=own")
    assert str(caught.value).startswith(f"experiment/own.yaml: {OF_A_FILE[text]}")
    assert os.environ["HOME"] not in str(caught.value)


def test_a_file_at_another_place_chooses_no_folder_either(tmp_path):
    folder = own(tmp_path, "dir: x", "run")
    for text in ("defaults: [run@hydra.run]", "defaults: [../experiment/run@hydra.run]"):
        own(tmp_path, text)
        with pytest.raises(ConfigError, match=r"experiment/run\.yaml: hydra\.run is refused|outside the configuration"):
            compose_own(folder, "experiment=own")
    for path in (f"{'../' * 20}{tmp_path}/conf/experiment/run", f"/{tmp_path}/conf/experiment/run"):
        own(tmp_path, f"defaults: ['/{path}@hydra.run']")
        with pytest.raises(ConfigError, match="outside the configuration's folders"):
            compose_own(folder, "experiment=own")


def test_a_file_replaces_no_schema(tmp_path):
    folder = own(tmp_path, "{}")
    (tmp_path / "conf" / "train_schema.yaml").write_text("seed: {}")
    with pytest.raises(ConfigError, match="the program has a built-in option with this name"):
        compose_own(folder)


@pytest.mark.parametrize("name", ["../../x", "a/../../x", "'${oc.decode:..}/x'", '"a\\nb"'])
def test_a_task_is_named_below_the_outputs(tmp_path, name):
    with pytest.raises(ConfigError, match=r"^task_name="):
        compose_own(own(tmp_path, f"task_name: {name}"), "experiment=own")


@pytest.mark.parametrize(
    "place",
    [
        f"sampler: {{x0: {{x: '{EVIL}'}}}}",
        f"sampler: {{sigma0: '{EVIL}'}}",
        f"direction: '{EVIL}'",
        f"params: {{x: '{EVIL}'}}",
        f"search_space: {{x: '{EVIL}'}}",
        f"study_name: '{EVIL}'",
    ],
)
@pytest.mark.parametrize("evil", ["hydra: {sweeper: {%s}}", "logger: {evil: {_target_: x}}\nhydra: {sweeper: {%s}}"])
def test_interpolations_bring_nothing_into_a_search(tmp_path, place, evil):
    pytest.importorskip("optuna")
    if evil.startswith("logger"):
        place = place.replace("hydra.runtime.choices", "logger")
    with pytest.raises((ConfigError, HydraException)) as caught:
        compose_own(own(tmp_path, SAMPLER + evil % place), "experiment=own")
    assert explain(caught.value).startswith(("hydra.sweeper.", "experiment/own.yaml: hydra.sweeper."))


def test_the_first_of_two_search_paths_is_checked(tmp_path):
    done = start("hydra.searchpath=[pkg://antigravity]", "hydra.searchpath=[]", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: hydra.searchpath=pkg://antigravity: only folders are searched")


@pytest.mark.parametrize("value", ["${" * 10_000, "${seed}" * 10_000, "x" * 100_000, "[" * 100_000])
def test_a_long_value_on_the_command_line_is_refused_in_a_short_sentence(value):
    began = time.process_time()
    with (
        pytest.raises((ConfigError, HydraException)) as caught,
        initialize_config_dir(str(ROOT / "conf"), version_base="1.3"),
    ):
        compose("train", [f"seed={value}"])
    assert len(explain(caught.value)) < 2_000
    assert time.process_time() - began < 5


def test_no_variable_is_copied_from_the_command_line(tmp_path):
    done = start("hydra.job.env_copy=[HOME]", cwd=tmp_path)
    assert done.stderr.startswith("error: hydra.job.env_copy is refused")
    assert os.environ["HOME"] not in done.stderr


def start(*arguments, cwd=ROOT, **more):
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **more,
    )  # fmt: skip


@pytest.mark.parametrize("sweep", [[], ["-m"], ["--cfg", "job"], ["--help"]], ids=str)
def test_an_evil_experiment_is_refused_before_anything_is_written(tmp_path, sweep):
    folder = own(tmp_path, "hydra: {callbacks: {x: {_target_: pathlib.Path.touch, self: touched}}}")
    done = start(*sweep, "--config-dir", folder, "experiment=own", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: hydra.callbacks.x=")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_a_cell_with_an_evil_experiment_is_refused(tmp_path):
    folder = own(tmp_path, "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}")
    done = start("-m", "--config-dir", folder, "experiment=demo,own", f"hydra.sweep.dir={tmp_path}/s", cwd=tmp_path)
    assert done.returncode == 2
    assert "error: hydra.job.env_set.LD_PRELOAD=evil.so is refused" in done.stderr
    assert not list((tmp_path / "s").glob("*/"))


def test_packages_are_not_searched_for_configurations(tmp_path):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text("open('touched', 'w')")
    done = start(
        "hydra.searchpath=[pkg://evil]", cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}/src"}
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: hydra.searchpath=pkg://evil: only folders are searched")
    assert not (tmp_path / "touched").exists()


def test_a_pickle_is_not_run_again(tmp_path):
    (tmp_path / "job.pickle").write_bytes(b"cbuiltins\nprint\n(S'executed'\ntR.")
    done = start("--experimental-rerun", str(tmp_path / "job.pickle"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "reads a pickle, which can run code" in done.stderr


def compose_own(folder, *overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", [f"hydra.searchpath=[{folder}]", *overrides, "paths.output_dir=unused"])


def test_a_users_own_folder_is_searched(tmp_path):
    assert compose_own(own(tmp_path, "seed: 7"), "experiment=own").seed == 7


BOMBS = {
    "aliases": "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10 if i else ['x'] * 10)}]\n" for i in range(9)),
    "merges": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)),
    "an alias of itself": "a: &a [*a]",
    "brackets": "a: " + "[" * 50_000,
    "levels": "".join(" " * i + "a:\n" for i in range(400)),
    "entries": "a: [" + "1," * 90_000 + "]",
    "length": "a: " + "x" * 5_000_000,
    "digits": "a: " + "1" * 5_000,
    "base 60": "a: 1" + ":10" * 30_000,
    "python": "a: !!python/object/apply:os.system [ls]",
    "a control character": "a: \x00",
    "unclosed interpolations": f'task_name: "{"${" * 60_000}"',
    "one unclosed interpolation": 'task_name: "${seed"',
    "many interpolations": f'task_name: "{"${seed}" * 24_000}"',
    "nested interpolations": f'task_name: "{"${oc.select:" * 3_000}seed{"}" * 3_000}"',
    "brackets in an interpolation": f'task_name: "${{oc.decode:{"[" * 100}"',
    "a long interpolation": f'task_name: "${{oc.decode:{"x" * 100_000}}}"',
    "interpolations in a key": f'"{"${" * 60_000}": 1',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_in_yaml_are_refused_at_once(tmp_path, bomb):
    began = time.process_time()
    with pytest.raises(yaml.YAMLError, match=r"own\.yaml"):
        compose_own(own(tmp_path, BOMBS[bomb]), "experiment=own")
    (tmp_path / "config.yaml").write_text(BOMBS[bomb])
    with pytest.raises(DataError, match=r"config\.yaml cannot be read"):
        read_config(tmp_path)
    assert time.process_time() - began < 2


def test_bounds_leave_room_for_files_of_today():
    assert all(len(path.read_text()) < bounded_yaml.MAX_CHARACTERS / 20 for path in (ROOT / "conf").rglob("*.yaml"))


def chain(count, entry):
    """Entries of a node, each made of the one before."""
    return "a0: {x: aaaaaaaaaa}\n" + "".join(entry.format(i=i, before=i - 1) for i in range(1, count))


INTERPOLATIONS = {
    chain(19, "a{i}: {{x: '${{logger.a{before}.x}}${{logger.a{before}.x}}'}}\n"): "stand for more than",
    chain(19, "a{i}: {{x: '${{logger.a{before}}}', y: '${{.x}}'}}\n"): "refer to each other|stand for more",
    chain(500, "a{i}: {{x: '${{logger.a{before}.x}}'}}\n") + "first: {x: '${logger.a499.x}'}": "refer to each other",
    "first: {x: '${logger.a499.x}'}\n" + chain(500, "a{i}: {{x: '${{logger.a{before}.x}}'}}\n"): "refer to each other",
    "a: {x: '${logger.a.x}'}": "refer to each other",
    "a: {x: '${..a}'}": "refer to each other",
    "a: {x: '${logger.b}'}": "there is no setting logger.b",
    "a: {x: '${oc.select:logger.a.${seed}}'}": "cannot contain another interpolation",
}


@pytest.mark.parametrize("text", INTERPOLATIONS, ids=range(len(INTERPOLATIONS)))
def test_bombs_of_interpolations_are_refused_at_once(tmp_path, text):
    began = time.process_time()
    with pytest.raises(ConfigError, match=INTERPOLATIONS[text]):
        compose_own(own(tmp_path, "logger:\n" + textwrap.indent(text, "  ")), "experiment=own")
    assert time.process_time() - began < 2


def test_lists_of_defaults_that_multiply_are_refused(tmp_path):
    for level in range(12):
        own(tmp_path, f"defaults: [{', '.join(f'bomb{level + 1}@p{n}' for n in range(4))}]", f"bomb{level}")
    folder = own(tmp_path, "{}", "bomb12")
    with pytest.raises(ConfigError, match="defaults lists name more than"):
        compose_own(folder, "experiment=bomb0")


def test_interpolations_of_a_users_own_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SEED", "7")
    text = "seed: ${oc.decode:${oc.env:MY_SEED}}\ntask_name: run_${seed}\nmodel: {optimizer: {weight_decay: '${.lr}'}}"
    cfg = compose_own(own(tmp_path, text), "experiment=own")
    assert (cfg.task_name, cfg.model.optimizer.weight_decay) == ("run_7", cfg.model.optimizer.lr)


@pytest.mark.parametrize("where", ["a value", "a key", "an argument"])
def test_control_characters_reach_no_terminal(tmp_path, where):
    if where == "an argument":
        done = start("-m", "seed=1,2", "task_name=a\x1b[31mb")
        assert done.returncode == 2
        assert "\x1b" not in done.stdout + done.stderr
        return
    text = 'task_name: "a\\e[31mb"' if where == "a value" else 'logger: {"a\\e[31mb": {}}'
    with pytest.raises(ConfigError, match="holds a control character") as caught:
        compose_own(own(tmp_path, text), "experiment=own")
    assert "\x1b" not in str(caught.value)


def test_a_file_that_does_not_fit_is_named(tmp_path):
    for text, said in {
        "sed: 7": "experiment/own.yaml: sed: there is no such key",
        "seed: x": "experiment/own.yaml: seed=x: must be a whole number",
        "model: null": "experiment/own.yaml: model=null: it cannot be null",
        "model: {optimizer: adamw}": "experiment/own.yaml: Merge error: str is not a subclass of OptimizerConfig",
        "defaults: [{override /model: '${recip}'}]": "a list of defaults: Interpolation key 'model' not found",
        "defaults: [benchmrk]": "experiment/benchmrk: there is no such file",
    }.items():
        with pytest.raises(Exception) as caught:
            compose_own(own(tmp_path, text), "experiment=own")
        assert explain(caught.value).startswith(said)
    assert not GlobalHydra.instance().is_initialized()


def test_a_users_own_file_names_the_data(tmp_path):
    folder = own(tmp_path, f"data: {{root: {tmp_path}}}")
    assert compose_own(folder, "experiment=own", "data=ptbxl").data.root == str(tmp_path)
    assert compose_own(folder, "experiment=own", "data.root=mine").data.root == "mine"


@pytest.mark.parametrize(
    ("key", "path"),
    [("dirpath", "/x"), ("dirpath", "x"), ("dirpath", "~/x"), ("filename", "../x"), ("filename", "/x/y")],
)
def test_a_callback_writes_below_the_run_alone(tmp_path, key, path):
    node = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "filename": "{epoch}", key: path}
    with pytest.raises(ConfigError, match=rf"^callbacks\.extra\.x\.{key}=.*: the path must be inside the run's folder"):
        build_callbacks({"x": node}, tmp_path)
    assert build_callbacks({"x": {**node, "filename": "a/b", "dirpath": f"{tmp_path}/mine"}}, tmp_path)


@pytest.mark.parametrize(
    ("key", "folder"),
    [("filename_suffix", "/../x"), ("name", "../../x"), ("version", "/x"), ("sub_dir", "a/../../../x")],
)
def test_a_logger_writes_below_the_run_alone(tmp_path, key, folder):
    node = {"_target_": "lightning.pytorch.loggers.CSVLogger", key: folder}
    with pytest.raises(ConfigError, match=rf"^logger\.csv\.{key}="):
        build_loggers({"csv": node}, str(tmp_path))
