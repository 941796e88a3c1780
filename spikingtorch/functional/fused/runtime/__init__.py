"""A library runs on tensors: their layout in memory, the launch, autograd."""
