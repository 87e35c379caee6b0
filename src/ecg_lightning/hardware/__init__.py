"""Devices, precisions, and the processor that a figure was measured on."""
