"""What a run leaves and reads back: its result, its recipe, and the ledger of scored test folds."""
