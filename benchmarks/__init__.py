"""Benchmarks of spikingtorch against other libraries and against its own bars; run with ``python -m benchmarks``."""
