"""Run a library on tensors: their layout in memory, the launch, autograd."""
