"""Fixtures of the tests of learning."""

import functools

import pytest
from tiny import build_tiny


@pytest.fixture
def make(configure):
    """Build a tiny classifier, without a run."""
    return functools.partial(build_tiny, configure)
