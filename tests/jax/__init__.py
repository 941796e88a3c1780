"""The library for JAX beside oracles that share no code with it."""
