"""Layers that skip the zeros of their inputs: their kernels in C, and how torch differentiates them."""
