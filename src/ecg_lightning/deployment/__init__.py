"""Deployment: files that read millivolts, the runtimes that open them, their measured cost, and predictions from them.

Only `export` and the torch runtime need PyTorch; a machine that only predicts does not.
"""
