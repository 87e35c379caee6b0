"""Devices, precisions, and the description of the processor that results were measured on."""
