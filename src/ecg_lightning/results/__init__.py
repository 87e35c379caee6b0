"""Files of a run that are written and read back: its result, its recipe, and the ledger of scored test folds."""
