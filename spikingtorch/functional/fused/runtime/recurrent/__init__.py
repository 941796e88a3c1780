"""Recurrent neurons: the kernel of the neuron, and one product between two steps."""
