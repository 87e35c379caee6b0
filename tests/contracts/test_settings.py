"""Each setting of each schema is set by a test or listed here, and each listed key is a setting of a schema."""

import ast
import dataclasses
import re
import typing

from tiny import ROOT

from ecg_lightning.compression.schema import CompressConfig, TrainConfig
from ecg_lightning.config.schema import SCHEMAS
from ecg_lightning.frontend.artifacts.levels import LEVELS
from ecg_lightning.results.recipes import _NOT_OF_A_RECIPE

NOT_SET: dict[str, str] = {
    "for_model": "experiments set it, and test_an_experiment_says_which_model_it_is_for composes them",
    "trainer.fast_dev_run": "debug=fdr sets it, which test_debug_options_run runs",
    "trainer.profiler": "debug=profiler sets it, which test_debug_options_run runs",
}


def _settings(schema, above=""):
    """Yield the dotted key and the `SCHEMA.NAME` of each setting of a schema, those of its own schemas included."""
    hints = typing.get_type_hints(schema)
    for entry in dataclasses.fields(schema):
        hint = hints[entry.name]
        own = [one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)]
        if own:
            yield from _settings(own[0], f"{above}{entry.name}.")
        elif entry.name != "kind":
            for one in schema.__mro__:  # a schema shares the settings of those that it inherits from
                if one is schema or entry.name in vars(one).get("__annotations__", {}):
                    yield f"{above}{entry.name}", f"{one.__name__}.{entry.name}"


def _overridden(tree):
    """Yield the keys of the overrides in the strings. A stage's key is `stage.KEY`, whatever the stage's name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for key in re.findall(r"(?<![\w.])(\w[\w.]*)=", node.value):
                yield re.sub(r"^compression\.stages\.\w+\.", "stage.", key)


def _constructed(tree):
    """Yield `SCHEMA.NAME` of each call with keywords: of a schema, or of a function that passes its own on to one."""
    schemas = {}
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.args.kwarg:
            passed_on = f"**{function.args.kwarg.arg}"
            for call in _calls(function):
                if any(ast.unparse(keyword) == passed_on for keyword in call.keywords):
                    schemas[function.name] = call.func.id
    for call in _calls(tree):
        schema = schemas.get(call.func.id, call.func.id)
        yield from (f"{schema}.{keyword.arg}" for keyword in call.keywords)


def _calls(tree):
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))


def _all_settings():
    """Return the `SCHEMA.NAME`s of each dotted key of all schemas."""
    roots = [(TrainConfig, ""), (CompressConfig, "")]
    roots += [(schema, f"{group}.") for group, schemas in SCHEMAS.items() for schema in schemas.values()]
    settings = {}
    for schema, above in roots:
        for key, name in _settings(schema, above):
            settings.setdefault(key, set()).add(name)
    return settings


def test_each_setting_is_set_by_a_test_or_listed():
    settings = _all_settings()
    assert len(settings) > 150
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {*_overridden(tree), *_constructed(tree)}
    found |= {key.rsplit(".", 1)[0] for key in found}  # +trainer.extra.NAME=VALUE sets trainer.extra
    found |= {f"frontend.artifacts.{name}" for name in LEVELS}  # test_artifacts sets each of them by its name
    not_set = {key for key, names in settings.items() if not {key, *names} & found}
    assert not_set == set(NOT_SET), "set each of these by its full key in a test, or list it here with the reason"


def test_each_key_that_comparisons_of_runs_leave_out_is_a_setting_or_a_group():
    keys = [f"{key}." for key in _all_settings()]
    assert len(_NOT_OF_A_RECIPE) > 15
    unknown = {left_out for left_out in _NOT_OF_A_RECIPE if not any(key.startswith(f"{left_out}.") for key in keys)}
    assert not unknown, "a setting has another name now: rename it in results/equality.py or results/recipes.py"
