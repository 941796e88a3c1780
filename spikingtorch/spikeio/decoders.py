"""Decoders: the sequence that a network returns, (N, T, ...), as one number for each output, (N, ...).

With ``batch_first=False`` the sequence is (T, N, ...), time first.

Each takes ``lengths``, whole numbers of shape (N,): only the first ``lengths[n]`` steps of sample n count, whatever
stands after them, NaN included. Output and gradient are those of each sample by itself. A length that is not in 1 ... T
is an error; inside ``torch.func`` and ``torch.compile``, where Python cannot read it, the output of that sample is NaN.
"""

import torch
from torch import Tensor

from spikingtorch import validation as checks
from spikingtorch.functional.core.precision import lifted_dtype
from spikingtorch.losses.first_spike import first_spike_time
from spikingtorch.losses.steps import Lengths, padded
from spikingtorch.spikeio._checks import OverTime, check_sequence


class SumDecoder(OverTime):
    """The sum over time, centred: zero for an output that fires at half of the steps. By default it does not count.

        out = scale (sum over t of s[:, t] - nsteps / 2)
        out = scale (sum over t of s[:, t])                     with offset=False

    So an output with 3 spikes in 8 steps decodes to -1, and ``SumDecoder(8, offset=False)`` gives the 3. For
    ``cross_entropy`` and ``argmax`` over outputs the two are the same, since all outputs move by the same number.
    With lengths, sample n is centred by ``lengths[n] / 2``, and nsteps plays no part.

    Args:
        nsteps: number of steps T, needed for the centre. (``RateDecoder(nsteps)`` only checks it.)
        scale: factor of the sum.
        offset: subtract ``nsteps / 2``.
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: nsteps or scale is none of these; a sequence without lengths has another number of steps.
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
        nsteps: number of steps T that a sequence must have, as in ``SumDecoder(nsteps)``; by default any. The rate does
            not need it.
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: nsteps is no number of steps; a sequence without lengths has another number of steps, or none.
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
        """Return the number of steps, if it is fixed, for the repr."""
        return [] if self.nsteps is None else [f"nsteps={self.nsteps}"]


class FirstSpikeDecoder(OverTime):
    """The step of the first spike of each output, counted from 0; T, or ``lengths[n]``, for a silent one.

        out = sum over t of prod over k <= t of (1 - s[:, k])

    For spikes, which are 0 or 1, the product is 1 until the first spike and 0 from then on. The sum is a polynomial of
    the spikes, and its derivative is the gradient. With the first spike at f and the next one at g (T if there is
    none),

        d out / d s[j] = -(f - j)  for j < f,     -(g - f)  for j = f,     0  for j > f

    The first is the time that a spike at j would gain, the second the time that would be lost without the spike at f.
    Through the surrogates of the neurons the gradient reaches the weights. A silent output has a gradient, too. Half
    precision rounds large times: bfloat16 those above 256.

    The class that spikes first is ``argmin``; for ``cross_entropy`` hand over ``-out``.

    Args:
        batch_first: False for sequences (T, N, ...), time first.

    Raises:
        ValueError: the sequence has no steps, or holds other values than 0 and 1 where they count.
        TypeError: the sequence is not floating.

    >>> spikes = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]])
    >>> FirstSpikeDecoder()(spikes)
    tensor([[1., 0., 3.]])
    >>> FirstSpikeDecoder()(spikes, lengths=[1])
    tensor([[1., 0., 1.]])
    """

    def forward(self, s: Tensor, lengths: Lengths = None) -> Tensor:
        """Return (N, ...) for spikes (N, T, ...); see the module for lengths."""
        # a step that does not count holds a spike, which ends the sum there and whose gradient goes nowhere
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

    The gradient goes to the step of the maximum, in equal parts where several steps have it.

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
    """Return the sequence, (N, T, ...), with ``padding`` in the steps that do not count, and the number of others."""
    owner = type(decoder).__name__
    s = check_sequence(owner, given, decoder.batch_first)
    T = s.shape[1]
    if lengths is None:
        if nsteps is not None and nsteps != T:
            raise ValueError(
                f"{owner}: a sequence of shape {tuple(given.shape)} has {T} steps on its axis "
                f"{int(decoder.batch_first)}, expected {nsteps}. Give "
                f"the encoder and the decoder the same nsteps: {owner}({T}). nsteps is the number of steps, not of "
                "outputs. For sequences that differ in length, hand over lengths"
            )
        return s, T
    s, _, steps = padded(s, checks.check_lengths(owner, lengths, s.shape[0], T), padding)
    return s, steps
