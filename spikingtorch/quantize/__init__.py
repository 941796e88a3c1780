"""Networks of whole numbers: weights of few bits, trained as a chip computes with them.

The files:

    grid            whole numbers times a power of two
    weights         the parametrisations that round weights and biases
    rounded_layers  the weights of a model that can be rounded
    inputs          graded inputs on a grid
    qat             training with rounded weights: prepare_qat, remove_qat
"""

from spikingtorch.quantize.inputs import RoundedInput
from spikingtorch.quantize.qat import prepare_qat, remove_qat

__all__ = ["RoundedInput", "prepare_qat", "remove_qat"]
