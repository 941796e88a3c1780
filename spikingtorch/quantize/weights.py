"""Parametrisations that round the weights and biases of a layer to whole numbers times a power of two."""

import math
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from spikingtorch.functional.core.modes import in_eager
from spikingtorch.functional.core.network_mode import run_outside
from spikingtorch.layers.constants import packed, unpacked
from spikingtorch.quantize.grid import power_below, power_of_two, through

_WHAT = "the weight of a rounded layer"
ScaleKind: TypeAlias = Literal["heuristic", "learned"]
SCALES: tuple[str, ...] = get_args(ScaleKind)
# scales that are compared, by the powers of two below the one that clips nothing and below the typical one
_FACTORS = (1.0, 0.5, 2.0, 0.25)
# how many rounded weights are in memory at once, while scales are compared
_TOGETHER = 2**18


def highest(bits: int) -> int:
    """Return the largest whole number of some bits, of which the smallest is the negative."""
    return int(2 ** (bits - 1)) - 1


class RoundedWeight(nn.Module):
    """Round a weight to b bits: the parametrisation that ``prepare_qat`` registers.

        W = clip(round(w / s), -h, h) s,  h = 2^(b-1) - 1,  s = 2^k;  round half to even

    Args:
        bits: b, from 2 to 8.
        per_channel: whether each output channel, along the first axis, has its own k.

    Attributes:
        bits, per_channel: as given.
    """

    kind: ScaleKind

    def __init__(self, bits: int, per_channel: bool) -> None:
        super().__init__()
        self.bits, self.per_channel = bits, per_channel

    def scale(self, w: Tensor) -> Tensor:
        """Return s for float weights, of shape () or (C, 1, ...), without a gradient.

        Raises:
            TypeError: the weights are in half precision.
        """
        raise NotImplementedError

    def scale_once_more(self, w: Tensor) -> Tensor:
        """Return s for the bias, right after the weights."""
        return self.scale(w)

    def forward(self, w: Tensor) -> Tensor:
        """Return the rounded weights."""
        return run_outside(self._rounded, w)

    def _rounded(self, w: Tensor) -> Tensor:
        raise NotImplementedError

    def right_inverse(self, w: Tensor) -> Tensor:
        """Return weights that are assigned to the layer as they are: they become its float weights."""
        return w

    def extra_repr(self) -> str:
        """Name the bits and the kind of scale."""
        return f"bits={self.bits}, per_channel={self.per_channel}, scale={self.kind!r}"

    def _described(self) -> dict[str, Any]:
        return {"bits": self.bits, "per_channel": self.per_channel, "scale": self.kind}

    def get_extra_state(self) -> Tensor:
        """Return the bits and the kind of scale, for ``state_dict``."""
        return packed(self._described())

    def set_extra_state(self, state: Any) -> None:
        """Check that a checkpoint was made with the same bits.

        Raises:
            ValueError: it was not.
        """
        if isinstance(state, Tensor) and state.is_meta:
            return
        saved, here = unpacked(state), self._described()
        if saved != here:
            raise ValueError(
                f"the weights of the checkpoint were trained with {_shown(saved)}, and the layer has {_shown(here)}. "
                "Prepare the model as it was then, with the same arguments of prepare_qat"
            )

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state_dict: Any, prefix: str, *rest: Any
    ) -> None:
        try:
            super()._load_from_state_dict(state_dict, prefix, *rest)
        except ValueError as error:
            rest[-1].append(f"{prefix.partition('.parametrizations')[0]}: {error}")


def _shown(described: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in described.items())


class HeuristicWeight(RoundedWeight):
    """Rounded weights whose scale is computed from the weights at each call: that of the least squared error.

        k = argmin sum (W - w)^2;  dL/dw = dL/dW, also beyond the clip

    It compares eight powers of two: four from the largest, which clips nothing, downwards, and four around the best
    scale for normal weights with their root mean square. So weights that grow are never held back by an old scale.
    There is nothing to train or to save.

    Attributes:
        has_bias: whether a bias follows at each call, on the grid of these weights.
    """

    kind = "heuristic"
    has_bias = False
    # weights, their version and their scale, for the bias of the same call
    _last: tuple[Tensor, int, Tensor] | None = None

    def scale(self, w: Tensor) -> Tensor:
        """Return the scale of the least error."""
        check_dtype(_WHAT, w)
        return least_error_scale(w.detach(), self.bits, self.per_channel)

    def scale_once_more(self, w: Tensor) -> Tensor:
        """Return the scale for the bias: that of the weights of this call, unless an optimizer has changed them."""
        last = self.__dict__.pop("_last", None)
        if last is not None and last[0] is w and in_eager() and last[1] == w._version:
            found: Tensor = last[2]
            return found
        return self.scale(w)

    def _rounded(self, w: Tensor) -> Tensor:
        scale = self.scale(w)
        if self.has_bias and in_eager() and not w.is_inference():
            self.__dict__["_last"] = w, w._version, scale
        return through(rounded(w.detach(), scale, self.bits), w)


class LearnedWeight(RoundedWeight):
    """Rounded weights whose log2 of the scale is trained, with the gradient of a learned step size.

        k = round(log2_scale),  dL/dw = dL/dW where |w / s| <= h, else 0
        dL/ds = g sum dL/dW (round(w / s) - w / s) where |w / s| <= h, else g sum dL/dW (-h or h)
        dL/dlog2_scale = dL/ds s ln 2,  g = 1 / sqrt(n h)  for the n weights that share s

    It starts at the scale of the least error. S. K. Esser et al., "Learned step size quantization", ICLR 2020,
    arXiv:1902.08153.

    Args:
        w: the weights, for the first scale.
        bits, per_channel: as in ``RoundedWeight``.

    Attributes:
        log2_scale: of shape () or (C, 1, ...).
    """

    kind = "learned"

    def __init__(self, w: Tensor, bits: int, per_channel: bool) -> None:
        super().__init__(bits, per_channel)
        start = torch.log2(least_error_scale(w.detach(), bits, per_channel))
        self.log2_scale = nn.Parameter(start, requires_grad=w.requires_grad)

    def scale(self, w: Tensor) -> Tensor:
        """Return the trained scale."""
        check_dtype(_WHAT, w)
        return power_of_two(self.log2_scale.detach().round().to(torch.int32), w.dtype)

    def _rounded(self, w: Tensor) -> Tensor:
        high, exact = highest(self.bits), self.scale(w)
        damping = 1.0 / math.sqrt(w.numel() / exact.numel() * high)
        log2 = self.log2_scale
        s = exact + (damping * math.log(2.0)) * exact * (log2 - log2.detach())
        inside = torch.clamp(w / s, -high, high)
        return through(torch.round(inside), inside) * s


class RoundedBias(nn.Module):
    """Round a bias to the grid of its layer's sum, which is that of its rounded weight: b = round(b / s) s.

    It is not clipped: the whole numbers of a bias may have as many bits as those of the sum.

    Args:
        layer: the layer, whose weight has a ``RoundedWeight``.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.__dict__["_layer"] = layer  # not as a submodule, which would be a circle

    def forward(self, b: Tensor) -> Tensor:
        """Return the rounded bias."""
        return run_outside(self._rounded, b)

    def _rounded(self, b: Tensor) -> Tensor:
        weights: Any = self._layer.parametrizations.weight  # type: ignore[union-attr]
        s = weights[0].scale_once_more(weights.original).flatten()
        held = b.detach()
        return through(torch.round(held / s) * s, b)

    def right_inverse(self, b: Tensor) -> Tensor:
        """Return a bias that is assigned to the layer as it is."""
        return b


def rounded(w: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Return weights, clipped to some bits and rounded to multiples of a power of two."""
    high = highest(bits)
    return torch.round(w / scale).clamp(-high, high) * scale


def least_error_scale(w: Tensor, bits: int, per_channel: bool) -> Tensor:
    """Return the power of two with the least squared error of rounded weights, of shape () or (C, 1, ...)."""
    w = w.detach()
    rows = w.flatten(1) if per_channel else w.flatten()[None]
    if rows.numel() == 0:
        return w.new_ones((len(w),) + (1,) * (w.ndim - 1) if per_channel else ())
    step = 1.0 / (highest(bits) + 0.5)
    # nothing is clipped by scales above |w| / (h + 1/2); and normal weights are best clipped at about 1.9 standard
    # deviations with 2 bits, and at 4 with 8, so that these are the typical scales
    widest = torch.linalg.vector_norm(rows, torch.inf, dim=1) * step
    typical = torch.linalg.vector_norm(rows, dim=1) * ((1.2 + 0.35 * bits) * step / math.sqrt(rows.shape[1]))
    powers = torch.stack([widest, typical])
    if per_channel:  # channels of zeros take the scale of the others, for the sake of their bias
        powers = torch.where(powers > 0.0, powers, powers.amax(1, keepdim=True))
    powers = power_below(powers)
    scales = torch.cat([powers * factor for factor in _FACTORS])[..., None]
    together = max(1, _TOGETHER // rows.numel())
    parts = [scales] if len(scales) <= together else scales.split(together)
    errors = [_errors(rows, some, bits) for some in parts]
    least = (errors[0] if len(errors) == 1 else torch.cat(errors)).argmin(0)[None, :, None]
    best = scales.gather(0, least)
    return best.reshape((-1,) + (1,) * (w.ndim - 1) if per_channel else ())


def _errors(rows: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Return the errors of rows (R, n) rounded at scales (K, R, 1)."""
    high = highest(bits)
    differences = (rows / scales).round_().clamp(-high, high).mul_(scales).sub_(rows)
    found: Tensor = torch.linalg.vector_norm(differences, dim=-1)
    return found


def check_dtype(what: str, w: Tensor) -> None:
    """Raise TypeError unless sums of whole numbers are exact in the dtype of weights."""
    if w.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"{what} is {str(w.dtype).removeprefix('torch.')}, expected float32 or float64, in which sums of whole "
            "numbers are exact. Keep the model in float32; for speed, train in torch.autocast"
        )
