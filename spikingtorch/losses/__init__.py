"""Losses: pure functions of outputs (N, T, ...) over time, of targets, and of the lengths of the sequences.

    rate_cross_entropy, count_cross_entropy                         a spike is a vote
    per_step_cross_entropy                                          each step is to give the class
    max_over_time_cross_entropy, last_step_cross_entropy            membranes of a readout
    first_spike_time, first_spike_cross_entropy                     the earliest spike counts
    rate_mse, count_mse                                             a rate or a count to reach
    van_rossum_distance                                             a sequence of spikes to reach
    firing_rate_penalty                                             bounds on the rates of a layer

With ``batch_first=False`` outputs are (T, N, ...), time first. Only the first ``lengths[n]`` steps of sample n count;
later steps may hold anything. Python cannot read values inside ``torch.func`` and ``torch.compile``, so they are not
checked there. A length out of range then gives NaN, and a class out of range is an error of torch.
"""

from spikingtorch.losses.entropy import (
    count_cross_entropy,
    last_step_cross_entropy,
    max_over_time_cross_entropy,
    per_step_cross_entropy,
    rate_cross_entropy,
)
from spikingtorch.losses.first_spike import first_spike_cross_entropy, first_spike_time
from spikingtorch.losses.rates import count_mse, firing_rate_penalty, rate_mse
from spikingtorch.losses.van_rossum import van_rossum_distance

__all__ = ["count_cross_entropy", "count_mse", "firing_rate_penalty", "rate_cross_entropy", "rate_mse"]
__all__ += ["last_step_cross_entropy", "max_over_time_cross_entropy", "per_step_cross_entropy"]
__all__ += ["first_spike_cross_entropy", "first_spike_time", "van_rossum_distance"]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
