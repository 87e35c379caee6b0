"""Where the configuration's files are."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """The `conf/` folder: a checkout's, else the copy in the installed package."""
    packaged = Path(__file__).parents[1] / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "conf"
