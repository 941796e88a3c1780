"""Digits that arrive step by step, learned by BPTT and by online rules; ``python -m benchmarks.sequential_digits``."""
