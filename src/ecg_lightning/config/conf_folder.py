"""The folder of the configuration's files."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """Return the `conf/` folder: the copy in the installed package if there is one, else the checkout's folder."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"
