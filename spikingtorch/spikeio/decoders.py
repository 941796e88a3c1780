"""Decoders turn the sequence of a network, (N, T, ...), into one number for each output, (N, ...).

With ``batch_first=False`` the sequence is (T, N, ...), time first.

Each takes ``lengths``, whole numbers of shape (N,): only the first ``lengths[n]`` steps of sample n count, whatever
stands after them, NaN included. Output and gradient of a sample are the same as without padding. A length that is not
in 1 ... T is an error; inside ``torch.func`` and ``torch.compile``, where Python cannot read it, the output of that
sample is NaN.
"""

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.losses.first_spike import first_spike_time
from spikingtorch.losses.steps import Lengths, padded
from spikingtorch.spikeio._checks import OverTime, check_sequence


class SumDecoder(OverTime):
    """The centred sum over time: zero for an output that fires at half of the steps. By default it is not a count.

        out = scale (sum over t of s[:, t] - nsteps / 2)
        out = scale (sum over t of s[:, t])                     with offset=False

    So an output with 3 spikes in 8 steps decodes to -1, and ``SumDecoder(8, offset=False)`` gives 3. For
    ``cross_entropy`` and ``argmax`` over outputs both are equivalent, because all outputs shift by the same number.
    With lengths, sample n is centred by ``lengths[n] / 2``, and nsteps is not used.

    Args:
        nsteps: number of steps T, which the centre needs. (``RateDecoder(nsteps)`` only checks it.)
        scale: factor of the sum.
        offset: subtract ``nsteps / 2``.
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: nsteps or scale is not valid; a sequence without lengths has another number of steps.
        TypeError: the sequence is not floating.

    >>> SumDecoder(4)(torch.ones(1, 4, 2))
    tensor([[2., 2.]])
    >>> SumDecoder(4, offset=False)(torch.ones(1, 4, 2))
    tensor([[4., 4.]])
    >>> SumDecoder(4)(torch.ones(2, 4, 1), lengths=[4, 2])
    tensor([[2.],
            [1.]])
    """

    _shown = ("nsteps={0.nsteps}", "scale={0.scale}", "offset={0.offset}")

    def __init__(self, nsteps: int, scale: float = 1.0, offset: bool = True, *, batch_first: bool = True) -> None:
        super().__init__(batch_first)
        self.nsteps = checks.check_count("SumDecoder", "nsteps", nsteps)
        checks.check_parameter("SumDecoder", "scale", scale)
        self.scale = scale
        self.offset = offset

    def forward(self, s: Tensor, lengths: Lengths = None) -> Tensor:
        """Return (N, ...) for a sequence (N, T, ...); see the module for lengths."""
        s, steps = _counted(self, s, lengths, self.nsteps)
        total = s.sum(1, dtype=lifted_dtype(s))  # bfloat16 counts to 256
        out = self.scale * (total - steps / 2 if self.offset else total)
        return out if out.dtype == s.dtype else out.to(s.dtype)


class RateDecoder(OverTime):
    """Spikes per step: the mean over time, or with lengths over the first ``lengths[n]`` steps.

        out = sum over t of s[:, t] / T

    Args:
        nsteps: required number of steps T, as in ``SumDecoder(nsteps)``; any by default. The rate does not need it.
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: nsteps is not a number of steps; a sequence without lengths has another number of steps, or none.
        TypeError: the sequence is not floating.

    >>> RateDecoder()(torch.tensor([[[0.0], [1.0]]]))
    tensor([[0.5000]])
    >>> RateDecoder()(torch.tensor([[[0.0], [1.0]]]), lengths=[1])
    tensor([[0.]])
    """

    def __init__(self, nsteps: int | None = None, *, batch_first: bool = True) -> None:
        super().__init__(batch_first)
        self.nsteps = None if nsteps is None else checks.check_count("RateDecoder", "nsteps", nsteps)

    def forward(self, s: Tensor, lengths: Lengths = None) -> Tensor:
        """Return (N, ...) for a sequence (N, T, ...); see the module for lengths."""
        counted, steps = _counted(self, s, lengths, self.nsteps)
        if lengths is None:
            return counted.mean(1)
        return (counted.sum(1, dtype=lifted_dtype(s)) / steps).to(s.dtype)

    def described(self) -> list[str]:
        """Return the number of steps for the repr, if it is fixed."""
        return [] if self.nsteps is None else [f"nsteps={self.nsteps}"]


class FirstSpikeDecoder(OverTime):
    """The step of each output's first spike, counted from 0; T, or ``lengths[n]``, for a silent output.

        out = sum over t of prod over k <= t of (1 - s[:, k])

    Spikes are 0 or 1, so the product is 1 until the first spike and 0 from then on. The sum is a polynomial of the
    spikes, and its derivative is the gradient. With the first spike at f and the next one at g (T if there is none),

        d out / d s[j] = -(f - j)  for j < f,     -(g - f)  for j = f,     0  for j > f

    The first is the change of the time by a spike at j. The second is the change without the spike at f. The gradient
    reaches the weights through the surrogates of the neurons. A silent output has a gradient, too. Half precision
    rounds large times: bfloat16 rounds times above 256.

    The class that spikes first is ``argmin``; pass ``-out`` to ``cross_entropy``.

    Args:
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: the sequence has no steps, or a step that is not padding holds other values than 0 and 1.
        TypeError: the sequence is not floating.

    >>> spikes = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]])
    >>> FirstSpikeDecoder()(spikes)
    tensor([[1., 0., 3.]])
    >>> FirstSpikeDecoder()(spikes, lengths=[1])
    tensor([[1., 0., 1.]])
    """

    def forward(self, s: Tensor, lengths: Lengths = None) -> Tensor:
        """Return (N, ...) for spikes (N, T, ...); see the module for lengths."""
        # padding holds a spike, which ends the sum there and passes no gradient on
        s, _ = _counted(self, s, lengths, None, padding=1.0)
        if checks.has_values(s) and not ((s == 0.0) | (s == 1.0)).all():
            raise ValueError(
                "FirstSpikeDecoder: the sequence holds other values than 0 and 1, expected spikes. For the membranes "
                "of a leaky integrator, take MaxMembraneDecoder()"
            )
        return first_spike_time(s).to(s.dtype)


class MaxMembraneDecoder(OverTime):
    """The largest value over time of each output, such as the membrane of a leaky integrator ``LI``.

        out = max over t of y[:, t]

    The gradient goes to the step of the maximum, in equal parts if several steps have it.

    Args:
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: the sequence has no steps.
        TypeError: the sequence is not floating.

    >>> MaxMembraneDecoder()(torch.tensor([[[0.5, -1.0], [0.2, -2.0], [3.0, -3.0]]]), lengths=[2])
    tensor([[ 0.5000, -1.0000]])
    """

    def forward(self, y: Tensor, lengths: Lengths = None) -> Tensor:
        """Return (N, ...) for membranes (N, T, ...); see the module for lengths."""
        y, _ = _counted(self, y, lengths, None, padding=-torch.inf)
        return y.amax(1)


def _counted(
    decoder: OverTime, given: Tensor, lengths: Lengths, nsteps: int | None, padding: float = 0.0
) -> tuple[Tensor, Tensor | int]:
    """Return the sequence, (N, T, ...), with ``padding`` in the padded steps, and the number of the other steps."""
    owner = type(decoder).__name__
    s = check_sequence(owner, given, decoder.batch_first)
    T = s.shape[1]
    if lengths is None:
        if nsteps is not None and nsteps != T:
            raise ValueError(
                f"{owner}: a sequence of shape {tuple(given.shape)} has {T} steps on its axis "
                f"{int(decoder.batch_first)}, expected {nsteps}. Give the encoder and the decoder the same "
                f"nsteps: {owner}({T}). nsteps is the number of steps, not of outputs. For sequences that differ "
                "in length, pass lengths"
            )
        return s, T
    s, _, steps = padded(s, checks.check_lengths(owner, lengths, s.shape[0], T), padding)
    return s, steps
