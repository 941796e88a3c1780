"""Neuron models: one family a file, one pure function a model. ``spikingtorch.functional`` re-exports them."""
