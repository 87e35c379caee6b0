"""Every reader on hostile and unusual inputs: 500 in the quick lane, more than 10,000 in the slow one."""

from __future__ import annotations

import pytest

from fuzz.lanes import INPUTS, Target, fuzz
from fuzz.targets import all_targets

pytestmark = pytest.mark.filterwarnings("ignore")  # numbers that overflow; the answer is what counts


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    """Every target by its name."""
    return all_targets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("name", INPUTS)
def test_quick(name: str, targets: dict[str, Target]) -> None:
    outcome = fuzz(targets[name], INPUTS[name][0])
    assert outcome.tried >= INPUTS[name][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_slow(name: str, targets: dict[str, Target]) -> None:
    outcome = fuzz(targets[name], INPUTS[name][1])
    assert outcome.tried >= INPUTS[name][1]
    assert outcome.right  # a reader that refuses everything would pass else


def test_the_lanes_are_long_enough() -> None:
    assert sum(quick for quick, _ in INPUTS.values()) >= 500
    assert sum(slow for _, slow in INPUTS.values()) >= 10_472
