"""Runtimes that open a deployed file, in one file each behind one interface."""
