"""The machine around a run: files, locks, signals, memory, and limits for files from elsewhere."""
