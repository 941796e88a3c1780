"""RewardModulatedSTDP: plasticity that waits for a reward."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.functional import plasticity
from spikingtorch.functional.plasticity.bounds import Bounds
from spikingtorch.functional.plasticity.factors import Factors
from spikingtorch.functional.plasticity.reward import rewarded
from spikingtorch.learning.plastic import Plastic

_HARD = plasticity.HardBounds(0.0, 1.0)


class RewardModulatedSTDP(Plastic):
    """Change the weights of linear layers by the times of spikes, as far as a reward confirms it.

        e[t] = decay_eligibility e[t-1] + rise[t] - fall[t]
        change = reward e[T], within bounds

    A call keeps the eligibility e of each sample and weight, (N, O, I), and ``step(reward)`` applies it. It stays
    afterwards, decays in calls with ``init=False``, and starts at zero where a sequence starts. ``STDP`` describes the
    other arguments, and ``functional.plasticity.RewardModulated`` a rule that is rewarded at each step.

    Args:
        model: a ``SpikingNet``.
        rule: ``functional.plasticity.pair_stdp`` or ``functional.plasticity.triplet_stdp``.
        decay_eligibility: share of the eligibility kept over a step, in [0, 1].
        layers: as in ``STDP``.
        bounds: as in ``STDP``; they apply to the rewarded change.
        reduction: "mean" or "sum" of the rewarded changes over the samples.
        **params: the other parameters of the rule.

    Raises:
        TypeError: model is no SpikingNet, or the rule does not take the parameters.
        ValueError: there is no such rule or layer, or decay_eligibility is not in [0, 1].

    >>> from torch import nn
    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(nn.Sequential(nn.Linear(4, 2, bias=False), LIF(tau=8.0, threshold=0.5)))
    >>> _ = nn.init.constant_(model.net[0].weight, 0.5)
    >>> params = {"decay_pre": 0.9, "decay_post": 0.9, "rate_plus": 0.01, "rate_minus": 0.005}
    >>> rule = RewardModulatedSTDP(model, decay_eligibility=0.95, **params)
    >>> _ = rule(torch.eye(4).expand(3, 4, 4))
    >>> rule.step(torch.tensor([1.0, 0.0, -1.0]))  # the rewards of three equal samples cancel each other
    >>> model.net[0].weight[0]
    tensor([0.5000, 0.5000, 0.5000, 0.5000], grad_fn=<SelectBackward0>)
    """

    _kept = ("eligibility",)

    def __init__(
        self,
        model: Any,
        rule: Callable[..., Any] = plasticity.pair_stdp,
        *,
        decay_eligibility: float,
        layers: Sequence[str] | Mapping[str, str] | None = None,
        bounds: Bounds = _HARD,
        reduction: Literal["mean", "sum"] = "mean",
        **params: Any,
    ) -> None:
        super().__init__(model, rule, layers, bounds, reduction, params)
        checks.check_parameter(self._owner, "decay_eligibility", decay_eligibility, least=0.0, most=1.0)
        self.decay_eligibility = float(decay_eligibility)

    def _take(self, path: str, pre: Factors, post: Factors, init: bool | Tensor, running: Tensor | None) -> None:
        N, T = pre.rise.shape[:2]
        ends = pre.rise.new_full((N, 1), T) if running is None else running.sum(1, keepdim=True).to(pre.rise.dtype)
        steps = torch.arange(1, T + 1, dtype=ends.dtype, device=ends.device)
        # the share of the change of each step that is left at the end; the factors of later steps are zero
        left = (self.decay_eligibility ** (ends - steps).clamp(min=0.0))[..., None]
        found = (post.rise * left).mT @ pre.rise - (post.fall * left).mT @ pre.fall
        before = self._eligibility.get(path)
        if before is not None and init is not True:
            before = F.reset_where(init, before) if isinstance(init, Tensor) else before
            found += self.decay_eligibility ** ends[..., None] * before
        self._eligibility[path] = found

    @torch.no_grad()
    def step(self, reward: Tensor | float) -> None:
        """Change the weights by their eligibility times a reward.

        Args:
            reward: a number, or one for each sample, (N,); times the learning rate, if the rates do not contain it.

        Raises:
            RuntimeError: no call has been watched.
            ValueError: the reward has another shape than () or (N,), or is not finite.
        """
        if not self._eligibility:
            raise RuntimeError(f"{self._owner}: step() has no spikes to learn from; call the rule first: rule(x)")
        for path, eligibility in self._eligibility.items():
            paid = torch.as_tensor(reward, dtype=eligibility.dtype, device=eligibility.device)
            if paid.shape not in ((), eligibility.shape[:1]):
                raise ValueError(
                    f"{self._owner}: reward has shape {tuple(paid.shape)}, expected a number, or one for each of the "
                    f"{eligibility.shape[0]} samples"
                )
            if not bool(paid.isfinite().all()):
                raise ValueError(f"{self._owner}: reward={reward!r}, expected finite numbers")
            each = torch.einsum("n,noi->oi", paid.expand(eligibility.shape[:1]), eligibility)
            signed = each / max(len(eligibility), 1) if self.reduction == "mean" else each
            self._change(path, rewarded(self._weight(path), signed, self.bounds))

    def reset(self) -> None:
        """Forget the traces and the eligibility."""
        super().reset()
        self._eligibility: dict[str, Tensor] = {}
