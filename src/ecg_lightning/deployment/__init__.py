"""Deployment: files that take millivolts, the runtimes that open them, what they cost, and predictions from them.

Only `export` and the torch runtime need PyTorch; a machine that predicts does without it.
"""
