"""Measurements, each started with ``python -m benchmarks.<name>``; results are in ``benchmarks/results/``."""
