"""Prune, quantize and export a trained model: not in this version, and it says so."""

from ecg_lightning.launching import compress

if __name__ == "__main__":
    compress()
