"""The programs: `train.py`, `compress.py` and the commands of `ecg-lightning`."""
