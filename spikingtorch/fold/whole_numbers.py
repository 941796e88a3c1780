"""Which layers of a network compute with whole numbers, for ``explain``."""

from torch import nn

from spikingtorch.layers.rounded import rounded_in
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.whole_numbers import FixedPointLayer


def whole_numbers(net: nn.Module) -> str:
    """Return in words which neurons and weights are whole numbers; empty if there are none.

    >>> from spikingtorch import LIF, FixedPointIF
    >>> whole_numbers(nn.Sequential(FixedPointIF(threshold=0.5, fraction_bits=4, membrane_bits=8), LIF()))
    'neurons of 0, not those of 1'
    """
    weights: dict[int, list[str]] = {}
    whole: list[str] = []
    others: list[str] = []
    for path, module in net.named_modules():
        for each in rounded_in(module):
            weights.setdefault(each.bits, []).append(path or "net")
        if isinstance(module, StepLayer):
            (whole if isinstance(module, FixedPointLayer) else others).append(path or "net")
    of_weights = [f"weights of {', '.join(paths)} in {bits} bits" for bits, paths in sorted(weights.items())]
    of_neurons = [f"neurons of {', '.join(whole)}"] if whole else []
    if not (of_weights or of_neurons):
        return ""
    rest = [f"not {'those' if whole else 'the neurons'} of {', '.join(others)}"] if others else []
    return ", ".join([*of_weights, *of_neurons, *rest])
