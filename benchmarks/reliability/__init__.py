"""Areas of `benchmarks/reliability.py`: each tries one kind of harm many times and counts what survived."""
