"""Learning beyond back-propagation through time: gradients that run forward in time, and plasticity.

    online(model, rule=...)                 gradients step by step, in memory that does not grow with the sequence
    STDP(model, rule)                       weights rise and fall by the times of spikes on both sides
    RewardModulatedSTDP(model, rule)        the same, once a reward comes
    AdaptiveThreshold(model)                thresholds that rise with each spike

The rules of plasticity are pure functions of ``spikingtorch.functional``: ``pair_stdp`` and ``triplet_stdp``.
"""

from spikingtorch.learning.homeostasis import AdaptiveThreshold
from spikingtorch.learning.online_learner import OnlineLearner, online
from spikingtorch.learning.online_rules import LayerGradient, OnlineExplanation
from spikingtorch.learning.stdp import STDP, RewardModulatedSTDP

__all__ = [
    "STDP",
    "AdaptiveThreshold",
    "LayerGradient",
    "OnlineExplanation",
    "OnlineLearner",
    "RewardModulatedSTDP",
    "online",
]
