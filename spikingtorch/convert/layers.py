"""The layers of a converted network."""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.layers import IF
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.rest import filled
from spikingtorch.layers.steplayer import StepLayer


class ShiftedIF(IF):
    """Integrate-and-fire neurons with reset by subtraction, whose membranes start at half of the threshold.

        v[-1] = theta / 2,  u[t] = v[t-1] + x[t],  s[t] = H(u[t] - theta),  v[t] = u[t] - theta s[t]

    T steps of a constant current x from 0 to theta give floor(T x / theta + 1/2) spikes. This is T x / theta, rounded
    to the nearest whole number; a start at zero would round down (T. Bu et al., ICLR 2022, arXiv:2303.04347). Varying
    currents with the sum T x give the same number if the membrane ends between 0 and theta. The last steps may leave it
    outside, which is the unevenness error.

    Args:
        threshold: theta; 1 in a converted network.
        surrogate: spike function, for training.

    >>> layer = ShiftedIF()
    >>> [layer(torch.tensor([0.25]), init=(t == 0)).item() for t in range(4)]
    [0.0, 1.0, 0.0, 0.0]
    """

    def __init__(self, threshold: Tensor | float = 1.0, *, surrogate: F.Surrogate = F.Sigmoid(beta=5.0)) -> None:
        super().__init__(threshold=threshold, surrogate=surrogate, reset=F.by_subtraction)

    def rest_state(self, x: Tensor) -> F.IFState:
        """Return half of the threshold, without a gradient."""
        threshold: Any = self.threshold
        return F.IFState(v=filled(x, 0.5 * threshold))


class SumState(NamedTuple):
    """State of ``CountMaxPool``: total, the sum of its inputs so far."""

    total: Tensor


class PoolStep(NamedTuple):
    """One step of ``CountMaxPool``; the options are those of ``nn.MaxPool2d``, or with axes=1 of ``nn.MaxPool1d``."""

    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any
    ceil_mode: bool
    axes: int

    def pooled(self, total: Tensor) -> Tensor:
        """Return the largest sum of each window."""
        pool = nnf.max_pool1d if self.axes == 1 else nnf.max_pool2d
        return pool(total, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def __call__(self, state: SumState, x: Tensor) -> tuple[SumState, Tensor]:
        """Return the new sum, and the growth of the largest sum."""
        total = state.total + x
        return SumState(total), self.pooled(total) - self.pooled(state.total)


class CountMaxPool(StepLayer):
    """Max pooling over sums: a window has as many output spikes as its neuron with the most spikes.

        n[t] = n[t-1] + x[t],   y[t] = maxpool(n[t]) - maxpool(n[t-1]),   n[-1] = 0

    So the mean of y over time is the max pooling of the mean of x, for any timing of the spikes. Max pooling of single
    steps passes on every spike in a window, which gives too many. If x are spikes, y are spikes: the largest count
    grows by 0 or 1. The same equation holds for currents.

    Args:
        pool: the max pooling, ``nn.MaxPool1d`` or ``nn.MaxPool2d``.

    Raises:
        TypeError: pool is of another type.
        ValueError: pool returns indices.

    Source: Y. Li, Y. Zeng, "Efficient and accurate conversion of spiking neural network with burst spikes", IJCAI 2022,
    arXiv:2204.13271, where it is called LIPooling.

    >>> layer = CountMaxPool(nn.MaxPool1d(2))
    >>> spikes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # one and two spikes
    >>> [layer(each.reshape(1, 1, 2), init=(t == 0)).item() for t, each in enumerate(spikes)]
    [1.0, 0.0, 1.0]
    """

    def __init__(self, pool: nn.Module) -> None:
        if not isinstance(pool, nn.MaxPool1d | nn.MaxPool2d):
            raise TypeError(f"CountMaxPool: pool is a {type(pool).__name__}, expected nn.MaxPool1d or nn.MaxPool2d")
        if pool.return_indices:
            raise ValueError("CountMaxPool: pool has return_indices=True, and the place of a largest count may change")
        axes = 1 if isinstance(pool, nn.MaxPool1d) else 2
        step: Any = PoolStep(pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, axes)
        super().__init__(step, SumState)

    def _advance_one(self, inputs: Any, init: bool | Tensor, running: Tensor | None = None) -> Tensor:
        mask = None if running is None else running.unsqueeze(1)
        return self._advance_steps(inputs.unsqueeze(1), init, mask).squeeze(1)

    def _advance_all(self, inputs: Any, fold: FoldToken) -> Tensor:
        return fold.rows(self._advance_steps(fold.steps(inputs), fold.init, fold.running))

    def _advance_steps(self, xs: Tensor, init: bool | Tensor, running: Tensor | None) -> Tensor:
        """Advance several steps, (N, T, ...), by one sum over time, which is not slower than single steps."""
        self._check_inputs(xs)
        first, step = xs[:, 0], cast(PoolStep, self.step)
        memory, recorder = self._start(first, init), self._recorder_here()
        if running is not None:  # without a spike, nothing changes and the output is zero
            xs = torch.where(running.view(*running.shape, *(1,) * (xs.ndim - 2)), xs, 0.0)
        totals = memory.state.total.unsqueeze(1) + F.lift(xs).cumsum(1)
        pooled = step.pooled(totals.flatten(0, 1)).unflatten(0, totals.shape[:2])
        before = torch.cat([step.pooled(memory.state.total).unsqueeze(1), pooled[:, :-1]], 1)
        outs: Tensor = (pooled - before).to(xs.dtype)
        if recorder is not None:  # it takes spikes, and there is no membrane here
            detaches_state: Any = recorder.around(step, first, xs.shape[1])
            outs = recorder.take(outs if detaches_state is step else (outs, {}))
        self._remember(memory, SumState(totals[:, -1].clone()), outs[:, -1].clone(), outs.sum(1))
        return outs

    def extra_repr(self) -> str:
        """Name the options of the pooling."""
        options: Any = self.step
        return ", ".join(f"{name}={value}" for name, value in options._asdict().items() if name != "axes")


class Scale(nn.Module):
    """Multiply by a number: the factor of a threshold where there are no weights to multiply.

    Args:
        factor: the number; a buffer, which is saved but not trained.
    """

    factor: Tensor

    def __init__(self, factor: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("factor", torch.as_tensor(factor).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return factor x."""
        return self.factor * x

    def extra_repr(self) -> str:
        """Name the factor."""
        return f"{float(self.factor):.3g}"
