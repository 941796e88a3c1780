"""Tests of the library for JAX."""
