"""Compression stages: one file per technique, with one small interface (`stage.CompressionStage`)."""
