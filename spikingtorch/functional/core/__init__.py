"""The base of everything else: trees, the contract of a step, modes of torch, a bounded cache."""
