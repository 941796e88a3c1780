"""Layers that skip the zeros of their inputs: their kernels in C, and their gradients in torch."""
