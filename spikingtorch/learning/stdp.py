"""Spike-timing-dependent plasticity of the weights of a network: at once, or once a reward comes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch import validation as checks
from spikingtorch.functional import plasticity
from spikingtorch.functional.plasticity.bounds import Bounds
from spikingtorch.functional.plasticity.factors import Factors, products
from spikingtorch.functional.plasticity.reward import rewarded
from spikingtorch.learning.plastic import Plastic

_HARD = plasticity.HardBounds(0.0, 1.0)


class STDP(Plastic):
    """Change the weights of linear layers by the times of the spikes before and behind them.

    Call the rule in place of the network, then ``step()``, as with an optimizer. The rule sees the inputs of each
    linear layer and the spikes of the spiking layer behind it. The network runs as it does by itself, folded if it
    folds, and the traces run in the compiled loop. No gradient is computed.

    The weights stay as they are during a call. ``step`` adds up all rises and all falls since the last step, and
    applies them at once, within the bounds. With one step of time in each call, that is
    ``functional.plasticity.pair_stdp``. Over a longer call, the bounds meet the sum of all steps, and not each step.

    Args:
        model: a ``SpikingNet``.
        rule: ``pair_stdp`` or ``triplet_stdp`` of ``functional.plasticity``, which state the order within a step.
        layers: names of the linear layers to change, or a dict that names for each the spiking layer that it feeds. By
            default, every ``nn.Linear`` with a spiking layer right behind it in the order of calls; where torch.fx
            cannot trace the network, in the order of modules. ``nn.Linear`` may also be the owner of a weight that
            forward hands to ``functional.event_linear``. Convolutions are refused.
        bounds: ``functional.plasticity.HardBounds``, ``SoftBounds`` or ``unbounded``.
        reduction: "mean" or "sum" of the changes over the samples of a batch.
        total: if it is given, ``step`` then scales the weights of each neuron to this sum, by
            ``functional.plasticity.normalize_weight``: a number, or a tensor that broadcasts to (O, 1). It can move
            weights out of the bounds.
        **params: the other parameters of the rule: decays per step, rates and ``pairing``.

    Raises:
        TypeError: model is no SpikingNet, or the rule does not take the parameters.
        ValueError: there is no such rule or layer, a layer has no weight of its own to change, or a number is out of
            range: a decay outside of [0, 1], bounds in the wrong order.

    >>> from torch import nn
    >>> from spikingtorch import LIF, SpikingNet
    >>> from spikingtorch import functional as F
    >>> model = SpikingNet(nn.Sequential(nn.Linear(4, 2, bias=False), LIF(tau=8.0, threshold=0.5)))
    >>> _ = nn.init.constant_(model.net[0].weight, 0.5)
    >>> decay = F.decay_from_tau(20.0)
    >>> rates = {"rate_plus": 0.01, "rate_minus": 0.005}
    >>> rule = STDP(model, decay_pre=decay, decay_post=decay, **rates)
    >>> spikes = rule(torch.eye(4).unsqueeze(0))  # one input after the other
    >>> rule.step()
    >>> model.net[0].weight[0]
    tensor([0.5181, 0.5190, 0.5048, 0.5055], grad_fn=<SelectBackward0>)
    """

    _kept = ("rise", "fall")

    def __init__(
        self,
        model: Any,
        rule: Callable[..., Any] = plasticity.pair_stdp,
        *,
        layers: Sequence[str] | Mapping[str, str] | None = None,
        bounds: Bounds = _HARD,
        reduction: Literal["mean", "sum"] = "mean",
        total: Tensor | float | None = None,
        **params: Any,
    ) -> None:
        super().__init__(model, rule, layers, bounds, reduction, params)
        if total is not None:
            checks.check_parameter(self._owner, "total", total, above=0.0)
        self.total = total

    def _take(self, path: str, pre: Factors, post: Factors, init: bool | Tensor, running: Tensor | None) -> None:  # noqa: ARG002
        share = 1.0 / max(pre.rise.shape[0], 1) if self.reduction == "mean" else 1.0
        rise, fall = products(post, pre)
        for sums, found in ((self._rise, rise), (self._fall, fall)):
            sums[path] = sums.get(path, 0.0) + found * share

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights by what has been watched since the last step, and forget that, but not the traces.

        Raises:
            RuntimeError: no call has been watched since the last step.
        """
        if not self._rise:
            raise RuntimeError(f"{self._owner}: step() has no spikes to learn from; call the rule first: rule(x)")
        for path in self._rise:
            self._change(path, self.bounds(self._weight(path), self._rise[path], self._fall[path]))
            if self.total is not None:
                weight = self._weight(path)
                weight.copy_(plasticity.normalize_weight(weight, total=self.total))
        self.zero()

    def zero(self) -> None:
        """Forget the changes that have been watched since the last step, but not the traces."""
        self._rise: dict[str, Tensor] = {}
        self._fall: dict[str, Tensor] = {}

    def reset(self) -> None:
        """Forget the traces and the changes since the last step."""
        super().reset()
        self.zero()


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
