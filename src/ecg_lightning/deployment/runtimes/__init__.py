"""Runtimes that open a deployed file: one file each behind one interface."""
