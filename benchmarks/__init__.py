"""Measurements against other tools and against ourselves, each ``python -m benchmarks.<name>``."""
