"""Numpy loops over time, one per neuron, written from the published equations and not from the library.

Each takes inputs (T, N) and returns the outputs (T, N) and the state after them by field. They keep the membrane before
the reset (w) and the last spike (s), as in the older package and the papers. The library keeps the membrane after the
reset, so the two share no line of thought. For a linear recurrence they sum its closed form instead.
"""

from spikingtorch.verification.oracles.fixed_point import (
    fixed_point_cuba_lif,
    fixed_point_if,
    fixed_point_lif,
    loihi_lif,
    speck_iaf,
    xylo_lif,
)
from spikingtorch.verification.oracles.linear import (
    adapting_leaky,
    adaptive_leaky,
    alpha_lif,
    alpha_synapse,
    balanced_resonate_and_fire,
    biolif,
    coarse_lif,
    cuba_lif,
    delay,
    euler,
    exponential_synapse,
    harmonic_resonate_and_fire,
    integrate_and_fire,
    leaky,
    leaky_integrator,
    mcpitts,
    refractory_leaky,
    relative_refractory_leaky,
    resonate_and_fire,
    short_term_plasticity,
    sigma_delta,
    spiking_decay,
    stochastic_leaky,
)
from spikingtorch.verification.oracles.nonlinear import adex, exponential_if, izhikevich, quadratic_if
from spikingtorch.verification.oracles.plasticity import reward_modulated_stdp, stdp
from spikingtorch.verification.oracles.spikes import (
    Array,
    Levels,
    Reset,
    Result,
    by_subtraction,
    none,
    to_value,
    to_zero,
)

__all__ = ["Array", "Levels", "Reset", "Result", "by_subtraction", "none", "to_value", "to_zero"]
__all__ += ["euler", "integrate_and_fire", "leaky", "leaky_integrator", "mcpitts", "sigma_delta", "spiking_decay"]
__all__ += ["adaptive_leaky", "coarse_lif", "refractory_leaky", "relative_refractory_leaky", "stochastic_leaky"]
__all__ += ["alpha_lif", "balanced_resonate_and_fire", "biolif", "cuba_lif", "resonate_and_fire"]
__all__ += ["adapting_leaky", "harmonic_resonate_and_fire"]
__all__ += ["adex", "exponential_if", "izhikevich", "quadratic_if"]
__all__ += ["fixed_point_cuba_lif", "fixed_point_if", "fixed_point_lif", "loihi_lif", "speck_iaf", "xylo_lif"]
__all__ += ["alpha_synapse", "delay", "exponential_synapse", "short_term_plasticity"]
__all__ += ["reward_modulated_stdp", "stdp"]
