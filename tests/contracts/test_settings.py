"""Each setting of each schema is used by a test or listed here, and each listed key is a setting of a schema."""

import dataclasses
import re
import typing

from tiny import ROOT

from ecg_lightning.compression.schema import CompressConfig, TrainConfig
from ecg_lightning.config.schema import SCHEMAS, keys_in
from ecg_lightning.results.recipes import _NOT_OF_A_RECIPE

NOT_EXERCISED: dict[str, str] = {
    "trainer.fast_dev_run": "debug=fdr sets it, which a test runs",
}


def _keys():
    for root in (TrainConfig, CompressConfig):
        hints = typing.get_type_hints(root)
        for entry in dataclasses.fields(root):
            yield from keys_in(hints[entry.name], entry.name)
    for group, schemas in SCHEMAS.items():
        for schema in schemas.values():
            yield from keys_in(schema, group)


def test_each_setting_is_exercised_or_listed():
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "test_settings.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    keys = [*dict.fromkeys(_keys())]
    assert len(keys) > 150
    unused = {key for key in keys if not re.search(rf"\b{re.escape(key.rpartition('.')[2])}\b['\"]?\s*[=:]", text)}
    assert unused == set(NOT_EXERCISED), "set each of these in a test, or list it here with the reason"


def test_each_key_that_comparisons_of_runs_leave_out_is_a_setting_or_a_group():
    keys = [f"{key}." for key in _keys()]
    assert len(_NOT_OF_A_RECIPE) > 15
    unknown = {left_out for left_out in _NOT_OF_A_RECIPE if not any(key.startswith(f"{left_out}.") for key in keys)}
    assert not unknown, "a setting has another name now: rename it in results/equality.py or results/recipes.py"
