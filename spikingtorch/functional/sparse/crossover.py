"""The number of nonzero inputs up to which kernels are faster than torch's functions, as measured by class of shape."""

from collections.abc import Sequence

from spikingtorch.functional.sparse.c_abi import Shape

# Below this number of products of an input and a weight, most of the time is the call itself. Each call copies the
# weights to another layout, which does not pay off for few places (outputs of each channel). Below the first number of
# places kernels are never faster, below the second one half as often.
_PRODUCTS, _FEWEST, _FEW = 2**24, 256, 1024
# classes of the number of inputs of an output, and of the number of output channels; each class begins at a number
_INPUTS, _CHANNELS = (64, 256, 1024), (32, 64, 128, 512)
# the number of taps in a row of a kernel, and of values in a row of a kernel with few channels
_WIDE, _ROW, _FEW_PRODUCTS = 3, 16, 2**20
# The share of nonzero inputs, for the forward pass and the gradient of the weights together. It has a row for each
# class of inputs, and a column for each class of channels. The first column holds below the first number. Products of
# whole matrices come closer to the peak of a processor.
_LINEAR = ((0.0, 0.0, 0.0, 0.12, 0.25), (0.0, 0.0, 0.06, 0.16, 0.25), (0.0, 0.0, 0.1, 0.2, 0.3))
_CONVOLUTION = ((0.0, 0.0, 0.1, 0.15, 0.15), (0.05, 0.1, 0.2, 0.3, 0.3), (0.08, 0.16, 0.25, 0.3, 0.3))

# The share of inputs with a wanted gradient up to which separate products are faster, by the number of outputs that an
# input reaches. Half of it holds for convolutions whose weights do not stay in the cache. For few images, the copy of
# the weights takes too long.
_REACHED, _MANY, _CACHE = (64, 128, 256, 512), 1000, 2**21
_SAMPLED_LINEAR = (0.0, 0.03, 0.1, 0.16, 0.17)
_SAMPLED_CONVOLUTION = (0.0, 0.0, 0.07, 0.18, 0.25)


def most_events(s: Shape) -> int:
    """Return the number of nonzero inputs up to which kernels are faster; 0 if torch is always faster."""
    places, taps = s.images * s.out_height * s.out_width, s.kernel_height * s.kernel_width
    inputs, size = s.channels * taps, s.images * s.height * s.width * s.channels
    row = _class_of(inputs, _INPUTS)
    if row == 0 or places < _FEWEST or places * inputs * s.outputs < _PRODUCTS:
        return 0
    part = (_LINEAR if taps == 1 else _CONVOLUTION)[row - 1][_class_of(s.outputs, _CHANNELS)]
    return int((part / 2 if places < _FEW else part) * size)


def most_sampled(s: Shape) -> int:
    """Return the number of wanted input gradients up to which separate products are faster; 0 for none."""
    places, taps = s.images * s.out_height * s.out_width, s.kernel_height * s.kernel_width
    products, size = places * s.channels * taps * s.outputs, s.images * s.height * s.width * s.channels
    if places < _MANY or products < _PRODUCTS or has_few_channels(s):
        return 0
    part = (_SAMPLED_LINEAR if taps == 1 else _SAMPLED_CONVOLUTION)[_class_of(taps * s.outputs, _REACHED)]
    fits = taps == 1 or 4 * s.channels * taps * s.outputs <= _CACHE
    return int((part if fits else part / 2) * size)


def has_few_channels(s: Shape) -> bool:
    """Return True if a convolution's input gradient is faster with vectors that hold a row of its kernel.

    Torch uses vectors of channels, which are mostly empty in this case.
    """
    products = s.images * s.out_height * s.out_width * s.outputs * s.channels * s.kernel_height * s.kernel_width
    return s.kernel_width >= _WIDE and s.kernel_width * s.channels <= _ROW and products >= _FEW_PRODUCTS


def has_few_outputs(s: Shape) -> bool:
    """Return True if the gradient of the weights of such a convolution is also faster by a kernel.

    Torch uses vectors of outputs.
    """
    return has_few_channels(s) and s.outputs <= s.kernel_width * s.channels


def _class_of(number: int, bounds: Sequence[int]) -> int:
    return sum([number >= least for least in bounds])
