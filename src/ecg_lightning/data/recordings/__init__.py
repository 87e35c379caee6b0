"""Recordings of any origin: WFDB, CSV and NPY files, their leads and units, and whether they can be an ECG."""
