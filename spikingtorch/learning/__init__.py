"""Learning beyond back-propagation through time."""

from spikingtorch.learning.online_explain import LayerGradient, OnlineExplanation
from spikingtorch.learning.online_learner import OnlineLearner, online

__all__ = ["LayerGradient", "OnlineExplanation", "OnlineLearner", "online"]
