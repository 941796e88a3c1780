"""The neuron models, under the file names of the torch side."""
