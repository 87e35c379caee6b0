"""The machine around a run: files, locks, signals, memory, and bounds for what strangers wrote."""
