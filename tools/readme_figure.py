"""Draw docs/assets/ecg.png: the package's synthetic infarction with the prediction of the package's model.

python tools/readme_figure.py docs/assets/ecg.png
"""

import sys
from pathlib import Path

import numpy as np
import wfdb

from ecg_lightning import Predictor
from ecg_lightning.deployment.example import EXAMPLE_MODEL, EXAMPLE_RECORDS
from ecg_lightning.reports.figures import ecg_figure


def main(path: Path) -> None:
    """Draw the figure into a file."""
    record = wfdb.rdrecord(str(EXAMPLE_RECORDS[1].with_suffix("")))
    predictor = Predictor(EXAMPLE_MODEL)
    about = predictor.metadata
    found = predictor.predict(record.p_signal.T, fs=record.fs, leads=record.sig_name, units="mV")
    assert found.probabilities is not None
    probabilities_C = np.array([found.probabilities[name] for name in about.classes])
    targets_C = np.array([name == "MI" for name in about.classes])  # what was drawn
    thresholds_C = np.array(about.thresholds)
    title = "a synthetic ECG with an infarction"
    figure = ecg_figure(record.p_signal.T, record.fs, about.classes, probabilities_C, targets_C, thresholds_C, title)
    figure.savefig(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
