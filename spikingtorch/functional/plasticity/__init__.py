"""Plasticity: pure functions that compute the change of a weight from the spikes on both of its sides."""
