"""What a run writes beside its checkpoints: figures, tables and its record."""
