"""A network with whole numbers as integers: their table and their certificate, or the refusal."""

from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.quantize import Certificate, IntegerError, certify, to_integer
from spikingtorch.quantize.report import Report


class Integers(NamedTuple):
    """What ``to_integer`` and ``certify`` say of a network.

    Attributes:
        certificate: the network beside its integers.
        table: bits, bounds and costs of the integers, or why they have no C.
    """

    certificate: Certificate
    table: Report | ValueError


def integers_of(model: Any, x: Tensor) -> Integers | IntegerError:
    """Return a network as integers, compared on some samples, or the refusal.

    Args:
        model: a SpikingNet, which is not changed.
        x: its input (N, T, ...).
    """
    try:
        integer = to_integer(model, x)
        certificate = certify(model, integer, x)
    except IntegerError as refused:
        return refused
    try:
        return Integers(certificate, integer.report())
    except ValueError as refused:
        return Integers(certificate, refused)
