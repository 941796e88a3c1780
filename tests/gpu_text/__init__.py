"""Kernels printed as Triton, without a GPU: make test-gpu-text."""
