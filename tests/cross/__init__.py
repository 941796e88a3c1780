"""Kernels in the machine code of AArch64, on a machine of another kind: make test-cross."""
