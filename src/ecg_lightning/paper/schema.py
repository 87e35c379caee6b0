"""Settings of a paper ECG's page."""

from __future__ import annotations

from dataclasses import dataclass

from ecg_lightning.components.setting import setting
from ecg_lightning.paper.colours import GRIDS
from ecg_lightning.paper.layout import LAYOUTS, ORDERS


@dataclass
class PageConfig:
    """A page of a paper ECG, see `paper.page`."""

    layout: str = setting("3x4_rhythm", "rows × columns of leads, with or without a rhythm strip", choices=(*LAYOUTS,))
    order: str = setting("standard", "order of the limb leads: standard, or Cabrera's with −aVR", choices=(*ORDERS,))
    columns: str = setting(
        "consecutive",
        "consecutive: each column shows the next part of the record; simultaneous: all show its beginning",
        choices=("consecutive", "simultaneous"),
    )
    mm_per_s: int = setting(25, "paper speed, in mm/s", choices=(25, 50))
    mm_per_mv: int = setting(10, "gain, in mm/mV", choices=(5, 10, 20))
    grid: str = setting("pink", "colour of the grid; none leaves blank paper", choices=(*GRIDS,))
    calibration: bool = setting(True, "whether a pulse of 1 mV and 0.2 s stands before each row")
    lead_names: bool = setting(True, "whether each lead's name stands above its trace")
    separators: bool = setting(True, "whether a tick separates the leads of a row")
    view: str = setting(
        "page", "page: the whole sheet; crop: the rows alone, without margins", choices=("page", "crop")
    )
