"""Latency, memory and throughput of deployed files."""
