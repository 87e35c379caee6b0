"""Configurations of a stranger: each node that names a class or a function, in Hydra's part and in the product's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from reliability.attack import Attack, pickled, run_dir
from reliability.products import Products
from reliability.programs import ecg_lightning, train

HYDRA = "hydra's own nodes in a configuration"
_EVERY_TARGET = ("callbacks", "job_logging")  # nodes that meet all targets; the others meet every fourth one


def _nodes(pickled: Path, path: Path) -> dict[str, dict[str, Any]]:
    """Nodes that run code or write `path` where they are instantiated."""
    script = path.with_name(path.name + ".py")
    script.write_text(f"open({str(path)!r}, 'w')")
    source = path.with_name(path.name + ".source")
    source.write_text("x")
    opened = f"open({str(path)!r}, 'w')"
    return {
        "torch.load": {"_target_": "torch.load", "f": str(pickled), "weights_only": False},
        "pandas.read_pickle": {"_target_": "pandas.read_pickle", "filepath_or_buffer": str(pickled)},
        "joblib.load": {"_target_": "joblib.load", "filename": str(pickled)},
        "pickle.loads": {
            "_target_": "pickle.loads",
            "_args_": [f"cos\nsystem\n(S'touch {path}'\ntR.".encode().decode()],
        },
        "pathlib.Path.write_text": {
            "_target_": "pathlib.Path.write_text",
            "_args_": [{"_target_": "pathlib.Path", "_args_": [str(path)]}, "x"],
        },
        "urllib.request.urlretrieve": {
            "_target_": "urllib.request.urlretrieve",
            "url": source.as_uri(),
            "filename": str(path),
        },
        "shutil.copyfile": {"_target_": "shutil.copyfile", "src": str(source), "dst": str(path)},
        "os.system": {"_target_": "os.system", "command": f"touch '{path}'"},
        "os.mkdir": {"_target_": "os.mkdir", "path": str(path)},
        "subprocess.check_output": {"_target_": "subprocess.check_output", "args": ["touch", str(path)]},
        "builtins.eval": {"_target_": "builtins.eval", "_args_": [opened]},
        "builtins.open": {"_target_": "builtins.open", "_args_": [str(path), "w"]},
        "runpy.run_path": {"_target_": "runpy.run_path", "path_name": str(script)},
        "logging.FileHandler": {"_target_": "logging.FileHandler", "filename": str(path)},
        "torch.save": {"_target_": "torch.save", "obj": 1, "f": str(path)},
        "lightning's loader": {
            "_target_": "lightning.pytorch.LightningModule.load_from_checkpoint",
            "checkpoint_path": str(pickled),
            "weights_only": False,
        },
    }


_HYDRA_NODES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "callbacks": lambda node: {"callbacks": {"x": node}},
    "sweeper": lambda node: {"sweeper": node},
    "sweeper.sampler": lambda node: {"sweeper": {"sampler": node}},
    "sweeper.pruner": lambda node: {"sweeper": {"pruner": node}},
    "sweeper.storage": lambda node: {"sweeper": {"storage": node}},
    "launcher": lambda node: {"launcher": node},
    "job_logging": lambda node: {"job_logging": {"handlers": {"x": _as_logging(node)}}},
    "job_logging.formatters": lambda node: {"job_logging": {"formatters": {"x": _as_logging(node)}}},
    "job_logging.filters": lambda node: {"job_logging": {"filters": {"x": _as_logging(node)}}},
    "hydra_logging": lambda node: {"hydra_logging": {"handlers": {"x": _as_logging(node)}}},
}
_PRODUCT_NODES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "model": lambda node: {"model": node},
    "model.optimizer": lambda node: {"model": {"optimizer": node}},
    "frontend": lambda node: {"frontend": node},
    "frontend.augmentation": lambda node: {"frontend": {"augmentation": node}},
    "data": lambda node: {"data": node},
    "callbacks.extra": lambda node: {"callbacks": {"extra": {"x": node}}},
    "logger": lambda node: {"logger": {"x": node}},
    "compression.stages": lambda node: {"compression": {"stages": {"x": node}}},
    "trainer.extra": lambda node: {"trainer": {"extra": {"plugins": [node]}}},
}


def _written() -> dict[str, Callable[[Path, Path], dict[str, Any]]]:
    """Configurations that run code through an interpolation, or choose where is written to."""
    evil = "${hydra.runtime.choices.evil}"
    optuna = [{"override /hydra/sweeper": "optuna"}, {"override /hydra/sweeper/sampler": "cmaes"}]

    def search(pickled: Path, **settings: Any) -> dict[str, Any]:
        called = {"_target_": "pandas.read_pickle", "_args_": [str(pickled)]}
        sweeper = {"n_trials": 1, "params": {"seed": "choice(1,2)"}, **settings}
        return {
            "defaults": optuna,
            "hydra": {"mode": "MULTIRUN", "runtime": {"choices": {"evil": called}}, "sweeper": sweeper},
        }

    return {
        "an interpolation in x0": lambda pickled, path: search(pickled, sampler={"x0": {"x": evil}}),
        "an interpolation in direction": lambda pickled, path: search(pickled, direction=evil),
        "an interpolation in params": lambda pickled, path: search(pickled, params={"seed": "1,2", "x": evil}),
        "a storage": lambda pickled, path: search(pickled, sampler={}, storage=f"sqlite:///{path}"),
        "run.dir": lambda pickled, path: {"hydra": {"run": {"dir": str(path)}}},
        "sweep.dir": lambda pickled, path: {"hydra": {"mode": "MULTIRUN", "sweep": {"dir": str(path)}}},
        "paths.output_dir": lambda pickled, path: {"paths": {"output_dir": str(path)}},
        "a task's name": lambda pickled, path: {"task_name": f"{'../' * 20}{path}"},
    }


def _as_logging(node: dict[str, Any]) -> dict[str, Any]:
    """A node in the words of `logging.config`, which calls what stands at `()`."""
    values = {name: value for name, value in node.items() if name not in ("_target_", "_args_")}
    names = ("path", "file", "command")
    positional = dict(zip(names, node.get("_args_", []), strict=False))
    return {"()": node["_target_"], **values, **positional}


def configurations(folder: Path, made: Products, canary: Callable[[], Path]) -> Iterator[Attack]:
    """Experiments of a stranger, used by `--config-dir` and `experiment=evil`; and settings on the command line."""
    for where, nodes in (("hydra", _HYDRA_NODES), ("product", _PRODUCT_NODES)):
        for place, (name, wrap) in enumerate(nodes.items()):
            path = canary()
            targets = [*_nodes(pickled(folder, path), path)]
            if name in _EVERY_TARGET:
                chosen = targets
            else:
                chosen = [targets[(place + step) % len(targets)] for step in range(0, len(targets), 4)]
            for target in chosen:
                path = canary()
                node = _nodes(pickled(folder, path), path)[target]
                content = {"hydra": wrap(node)} if where == "hydra" else wrap(node)
                kind = HYDRA if where == "hydra" else "the product's nodes"
                yield _experiment(made, kind, f"{name}: {target}", content, path)
    path = canary()
    handler = {"class": "logging.FileHandler", "filename": str(path), "mode": "w"}
    yield _experiment(made, kind, "a file handler", {"hydra": {"job_logging": {"handlers": {"f": handler}}}}, path)
    path = canary()
    yield _experiment(
        made,
        kind,
        "hydra_logging's file handler",
        {"hydra": {"hydra_logging": {"handlers": {"f": handler}}}},
        path,
    )
    path = canary()
    settings = f"+hydra.job_logging.handlers.f={{class:logging.FileHandler,filename:{path},mode:w}}"
    yield Attack(HYDRA, "a file handler on the command line", train(*made.settings, settings, run_dir(path)), path)
    path = canary()
    call = f"+hydra.callbacks.x={{_target_:os.mkdir,path:{path}}}"
    yield Attack(HYDRA, "a callback on the command line", train(*made.settings, call, run_dir(path)), path)
    for variable in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH"):
        path = canary()
        programs = path.with_name(path.name + ".bin")
        _fake_programs(programs, path)
        content = {"hydra": {"job": {"env_set": {variable: str(programs)}}}}
        yield _experiment(made, HYDRA, f"job.env_set of {variable}", content, path, "data.num_workers=2")
    path = canary()
    other = path.with_name(path.name + ".conf")
    node = _nodes(pickled(folder, path), path)["os.mkdir"]
    _write_experiment(other, {"hydra": {"callbacks": {"x": node}}})
    search = f"hydra.searchpath=[file://{other}]"
    yield Attack(HYDRA, "searchpath", train(*made.settings, search, "experiment=evil", run_dir(path)), path)
    for name, written in _written().items():
        path = canary()
        yield _experiment(made, HYDRA, name, written(pickled(folder, path), path), path)
    path = canary()
    tagged = path.with_name(path.name + ".conf")
    _write_experiment(tagged, {})
    tag = f"# @package _global_\nx: !!python/object/apply:os.system ['touch {path}']\n"
    (tagged / "experiment" / "evil.yaml").write_text(tag)
    command = train("--config-dir", str(tagged), *made.settings, "experiment=evil", run_dir(path))
    yield Attack("YAML tags", "an experiment", command, path)
    path = canary()
    copied = Path(shutil.copytree(made.run, path.with_name(path.name + ".run")))
    (copied / "config.yaml").write_text(tag.replace("# @package _global_\n", ""))
    yield Attack("YAML tags", "a run's config.yaml", ecg_lightning("evaluate", str(copied)), path)


def _experiment(made: Products, kind: str, name: str, content: dict[str, Any], path: Path, *more: str) -> Attack:
    conf = path.with_name(path.name + ".conf")
    _write_experiment(conf, content)
    sweeps = any(part in name for part in ("sweeper", "launcher"))
    optuna = ["hydra/sweeper=optuna"] if "sampler" in name or "pruner" in name or "storage" in name else []
    swept = ["-m", "seed=1,2", f"hydra.sweep.dir={path}.sweep"] if sweeps else [run_dir(path)]
    command = train("--config-dir", str(conf), *made.settings, "experiment=evil", *optuna, *swept, *more)
    return Attack(kind, name, command, path)


def _write_experiment(conf: Path, content: dict[str, Any]) -> None:
    (conf / "experiment").mkdir(parents=True)
    (conf / "experiment" / "evil.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content))


def _fake_programs(folder: Path, canary: Path) -> None:
    """Programs and modules of well-known names that make the canary."""
    folder.mkdir()
    for name in ("git", "nvidia-smi", "lscpu", "uname"):
        (folder / name).write_text(f"#!/bin/sh\n/usr/bin/touch '{canary}'\n")
        (folder / name).chmod(0o755)
    (folder / "sitecustomize.py").write_text(f"open({str(canary)!r}, 'w')\n")
