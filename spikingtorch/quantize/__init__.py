"""Networks of whole numbers: weights of few bits, trained as a chip computes with them, and what the chip runs.

The files:

    grid            whole numbers times a power of two, and graded inputs as such
    weights         the parametrisations that round weights and biases
    qat             training with rounded weights: prepare_qat, remove_qat
    norms           batch norm as a part of the weights before it: fold_norms
    after           rounded weights after training: quantize; and what rounding has changed: changes
    network         a network in whole numbers, and its reference in NumPy; nodes, neurons: its parts
    integer         IntegerModel: such a network written as C, as NIR, as a table and as a file
    calls, lower    to_integer: the calls of a step as whole numbers; lower_layers: those of layers
    proof           bounds and settings of torch under which float32 adds what integers add
    certificate     certify: a float network beside its integers
    c, nir_graph, onnx_graph    integers as C99, as a graph of NIR, and as a file of ONNX
"""

from spikingtorch.quantize.after import Changes, LayerChange, changes, quantize
from spikingtorch.quantize.c.header import CSource, Needs
from spikingtorch.quantize.certificate import Certificate, certify
from spikingtorch.quantize.errors import IntegerError
from spikingtorch.quantize.grid import RoundedInput
from spikingtorch.quantize.integer import IntegerModel, Report
from spikingtorch.quantize.lower import to_integer
from spikingtorch.quantize.norms import FoldedNorm, fold_norms
from spikingtorch.quantize.qat import prepare_qat, remove_qat

__all__ = [
    "CSource",
    "Certificate",
    "Changes",
    "FoldedNorm",
    "IntegerError",
    "IntegerModel",
    "LayerChange",
    "Needs",
    "Report",
    "RoundedInput",
    "certify",
    "changes",
    "fold_norms",
    "prepare_qat",
    "quantize",
    "remove_qat",
    "to_integer",
]
