"""Front ends: normalisation, augmentation and representation, batched on the device."""
