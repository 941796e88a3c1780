"""Networks of whole numbers: weights of few bits, trained as a chip computes with them.

The files:

    grid            whole numbers times a power of two
    weights         the parametrisations that round weights and biases
    rounded_layers  the weights of a model that can be rounded
    inputs          graded inputs on a grid
    qat             training with rounded weights: prepare_qat, remove_qat
    norms           batch norm as a part of the weights before it: fold_norms
    after           rounded weights after training: quantize; and what rounding has changed: changes
"""

from spikingtorch.quantize.after import Changes, LayerChange, changes, quantize
from spikingtorch.quantize.inputs import RoundedInput
from spikingtorch.quantize.norms import FoldedNorm, fold_norms
from spikingtorch.quantize.qat import prepare_qat, remove_qat

__all__ = [
    "Changes",
    "FoldedNorm",
    "LayerChange",
    "RoundedInput",
    "changes",
    "fold_norms",
    "prepare_qat",
    "quantize",
    "remove_qat",
]
