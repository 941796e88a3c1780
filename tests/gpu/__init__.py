"""Kernels on a GPU: make test-gpu."""
