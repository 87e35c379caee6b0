"""Recordings of any origin: WFDB, CSV and NPY files, their leads and units, and the check that they can be an ECG."""
