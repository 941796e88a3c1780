"""Learning without back-propagation: plasticity, from the spikes on both sides of a weight.

    STDP(model, rule)                       rises and falls by the times of spikes
    RewardModulatedSTDP(model, rule)        the same, once a reward comes
    AdaptiveThreshold(model)                thresholds that rise with each spike

The rules are pure functions of ``spikingtorch.functional``: ``pair_stdp`` and ``triplet_stdp``.
"""

from spikingtorch.learning.homeostasis import AdaptiveThreshold
from spikingtorch.learning.reward import RewardModulatedSTDP
from spikingtorch.learning.stdp import STDP

__all__ = ["STDP", "AdaptiveThreshold", "RewardModulatedSTDP"]
