"""The architectures: one file each with its network and its LightningModule, on the shared `ECGClassifier`."""
