"""IntegerError: a network whose float numbers would not be those of integers."""


class IntegerError(ValueError):
    """A network cannot become integers; the message names the layer, the rule and the bound.

    Attributes:
        layer: path of the layer in the network; empty if the whole network is meant.
        rule: the rule that fails: one of the values of ``RULES``.
        bound: the number that the rule compares, such as the largest sum that a layer can reach; None without one.
    """

    def __init__(self, layer: str, rule: str, message: str, bound: float | None = None) -> None:
        super().__init__(f"layer {layer!r}: {message}" if layer else message)
        self.layer, self.rule, self.bound = layer, rule, bound

    def __reduce__(self) -> tuple[object, ...]:
        """Return what makes a copy of the error, with the message as it is."""
        return type(self), ("", self.rule, str(self), self.bound), {"layer": self.layer}


# the rules by the names that errors have
RULES = {
    "chain": "each layer takes the input, outputs of layers or sums of these, and nothing else",
    "layers": "layers are Linear, Conv2d, AvgPool2d, Flatten and fixed-point neurons",
    "neurons": "neurons compute with whole numbers",
    "norm": "batch norm is part of the weights before it",
    "mean": "a mean is over 2**k numbers, without padding",
    "grid": "numbers are whole numbers of few bits, times a power of two",
    "input": "inputs are whole numbers, times a power of two",
    "sums": "sums are below 2**24 in the finest unit, where float32 has all whole numbers",
    "events": "a sum that saturates at each event stays within its register in any order",
    "plain": "convolutions add plain products",
    "nir": "NIR has a word for what a neuron does",
    "dtype": "the network computes in float32 or float64 on the CPU, without autocast",
}
