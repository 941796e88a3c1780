"""Up to how many inputs that are not zero kernels are faster than torch's functions: measured, by class of shape."""

from collections.abc import Sequence

from spikingtorch.functional.sparse.c_abi import Shape

# below so many products of an input and a weight the calls themselves take longest. Weights are laid out anew in each
# call, which few places, that is outputs of each channel, do not make up for: below the first number never, below the
# second one half as often
_PRODUCTS, _FEWEST, _FEW = 2**24, 256, 1024
# classes of how many inputs an output has, and of how many channels the outputs have, each from a number on
_INPUTS, _CHANNELS = (64, 256, 1024), (32, 64, 128, 512)
# taps in a row of a kernel, and numbers in one of a kernel of few channels
_WIDE, _ROW, _FEW_PRODUCTS = 3, 16, 2**20
# the part of the inputs, forward and weight gradient together: a row for each class of inputs, a column for each class
# of channels, below the first number as well. Products of whole matrices are nearer to what a processor can do
_LINEAR = (
    (0.0, 0.0, 0.0, 0.12, 0.25),
    (0.0, 0.0, 0.06, 0.16, 0.25),
    (0.0, 0.0, 0.1, 0.2, 0.3),
)
_CONVOLUTION = (
    (0.0, 0.0, 0.1, 0.15, 0.15),
    (0.05, 0.1, 0.2, 0.3, 0.3),
    (0.08, 0.16, 0.25, 0.3, 0.3),
)

# the part of the inputs whose gradient is wanted, up to which products of their own are faster: by how many outputs an
# input reaches, and half of it for convolutions whose weights do not stay in the cache. Of few images, to lay out the
# weights takes too long
_REACHED, _MANY, _CACHE = (64, 128, 256, 512), 1000, 2**21
_SAMPLED_LINEAR = (0.0, 0.03, 0.1, 0.16, 0.17)
_SAMPLED_CONVOLUTION = (0.0, 0.0, 0.07, 0.18, 0.25)


def most_events(s: Shape) -> int:
    """Return how many inputs of a layer may be not zero for kernels to be faster, 0 if torch is in any case."""
    places, taps = s.images * s.out_height * s.out_width, s.kernel_height * s.kernel_width
    inputs, size = s.channels * taps, s.images * s.height * s.width * s.channels
    row = _class_of(inputs, _INPUTS)
    if row == 0 or places < _FEWEST or places * inputs * s.outputs < _PRODUCTS:
        return 0
    part = (_LINEAR if taps == 1 else _CONVOLUTION)[row - 1][_class_of(s.outputs, _CHANNELS)]
    return int((part / 2 if places < _FEW else part) * size)


def most_sampled(s: Shape) -> int:
    """Return of how many inputs the gradient may be wanted for products of their own to be faster, 0 for none."""
    places, taps = s.images * s.out_height * s.out_width, s.kernel_height * s.kernel_width
    products, size = places * s.channels * taps * s.outputs, s.images * s.height * s.width * s.channels
    if places < _MANY or products < _PRODUCTS or has_few_channels(s):
        return 0
    part = (_SAMPLED_LINEAR if taps == 1 else _SAMPLED_CONVOLUTION)[_class_of(taps * s.outputs, _REACHED)]
    fits = taps == 1 or 4 * s.channels * taps * s.outputs <= _CACHE
    return int((part if fits else part / 2) * size)


def has_few_channels(s: Shape) -> bool:
    """Say whether a convolution's input gradient is faster by a kernel whose vectors hold a row of its kernel.

    Torch's own has vectors of channels, most of which are empty there.
    """
    products = s.images * s.out_height * s.out_width * s.outputs * s.channels * s.kernel_height * s.kernel_width
    return s.kernel_width >= _WIDE and s.kernel_width * s.channels <= _ROW and products >= _FEW_PRODUCTS


def has_few_outputs(s: Shape) -> bool:
    """Say whether such a convolution's gradient of the weights is faster by a kernel as well.

    Torch's own has vectors of outputs.
    """
    return has_few_channels(s) and s.outputs <= s.kernel_width * s.channels


def _class_of(number: int, bounds: Sequence[int]) -> int:
    return sum([number >= least for least in bounds])
