"""ECG-Lightning: PTB-XL ECGs to a small, fast, honestly measured classifier."""

__version__ = "0.1.0"
