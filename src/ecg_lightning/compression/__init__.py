"""Compression stages: one file a technique, each with the same small interface (`stage.CompressionStage`)."""
