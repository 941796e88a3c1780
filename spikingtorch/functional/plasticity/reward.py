"""Reward-modulated plasticity: a trace of changes, which a reward turns into a change."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.functional.plasticity.bounds import Bounds, unbounded


class EligibilityTraces(NamedTuple):
    """Traces of ``RewardModulated``: those of the rule inside it, and the eligibility of each weight, (O, I)."""

    rule: Any
    eligibility: Tensor


class RewardModulated(NamedTuple):
    """A rule whose change waits in a decaying trace for a reward.

        e[t] = decay_eligibility e[t-1] + rule[t]
        change = reward[t] e[t], within bounds

    ``rule`` is the change that the rule inside computes at this step, without bounds. A reward at the step of a spike
    counts for that spike. A negative reward turns a rise into a fall.

    Args:
        rule: ``pair_stdp``, ``triplet_stdp``, or a function of yours with the same arguments.

    Source: E. M. Izhikevich, Cereb. Cortex 17 (2007), doi:10.1093/cercor/bhl152; R. V. Florian, Neural Comput. 19
    (2007), doi:10.1162/neco.2007.19.6.1468.

    >>> import torch
    >>> from spikingtorch.functional.plasticity import PairTraces, pair_stdp
    >>> traces = EligibilityTraces(PairTraces(pre=torch.ones(1), post=torch.zeros(1)), torch.zeros(1, 1))
    >>> params = {"decay_pre": 0.5, "decay_post": 0.5, "rate_plus": 1.0, "rate_minus": 1.0}
    >>> spikes = torch.zeros(1), torch.ones(1)
    >>> rule = RewardModulated(pair_stdp)
    >>> traces, change = rule(traces, *spikes, torch.zeros(1, 1), reward=2.0, decay_eligibility=0.9, **params)
    >>> traces.eligibility, change
    (tensor([[0.5000]]), tensor([[1.]]))
    """

    rule: Callable[..., tuple[Any, Tensor]]

    def __call__(
        self,
        traces: EligibilityTraces,
        pre: Tensor,
        post: Tensor,
        weight: Tensor,
        *,
        reward: Tensor | float,
        decay_eligibility: Tensor | float,
        bounds: Bounds = unbounded,
        **params: Any,
    ) -> tuple[EligibilityTraces, Tensor]:
        """Compute the change of a weight at one step.

        Args:
            traces: those of the rule, and e[t-1], shape (O, I).
            pre: presynaptic spikes of this step, shape (*N, I).
            post: postsynaptic spikes of this step, shape (*N, O).
            weight: the weight before this step, shape (O, I).
            reward: the reward of this step times the learning rate, broadcastable to (O, I). For a reward per sample,
                use ``torch.func.vmap``.
            decay_eligibility: share of e kept over a step, in [0, 1], broadcastable to (O, I).
            bounds: those of the weight; they apply to the rewarded change.
            **params: parameters of the rule but for its bounds.
        """
        inner, unrewarded = self.rule(traces.rule, pre, post, weight, **params)
        eligibility = decay_eligibility * traces.eligibility + unrewarded
        return EligibilityTraces(inner, eligibility), rewarded(weight, reward * eligibility, bounds)


def rewarded(weight: Tensor, signed: Tensor, bounds: Bounds) -> Tensor:
    """Return the change of a weight within bounds, from a change of either sign."""
    return bounds(weight, signed.clamp(min=0.0), (-signed).clamp(min=0.0))
