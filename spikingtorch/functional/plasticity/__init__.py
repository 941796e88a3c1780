"""Plasticity: pure functions that compute the change of a weight from the spikes on both of its sides."""

from spikingtorch.functional.plasticity.bounds import HardBounds, SoftBounds, unbounded
from spikingtorch.functional.plasticity.factors import all_to_all, nearest
from spikingtorch.functional.plasticity.homeostasis import adapt_threshold, normalize_weight, scale_weight
from spikingtorch.functional.plasticity.reward import EligibilityTraces, RewardModulated
from spikingtorch.functional.plasticity.stdp import PairTraces, TripletTraces, pair_stdp, triplet_stdp

__all__ = ["EligibilityTraces", "HardBounds", "PairTraces", "RewardModulated", "SoftBounds", "TripletTraces"]
__all__ += ["adapt_threshold", "all_to_all", "nearest", "normalize_weight", "pair_stdp", "scale_weight"]
__all__ += ["triplet_stdp", "unbounded"]
