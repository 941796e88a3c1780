"""RLeaky and RSynaptic: neurons that feed back to themselves."""

from typing import Any

from spikingtorch import functional as F
from spikingtorch.like.snntorch.neuron import Neuron, chosen, delayed
from spikingtorch.like.steps import snntorch_recurrent as steps
from spikingtorch.like.steps.snntorch import Mechanism, Value


def _one_to_one(owner: str, all_to_all: bool) -> None:
    if all_to_all:
        neuron = owner.removeprefix("R")
        raise ValueError(
            f"{owner}: all_to_all=True is not elementwise. Give all_to_all=False for one weight V a neuron; or use "
            f"{neuron} with the same step: StepLayer({neuron.lower()}_step, {neuron}State, ..., "
            f"recurrent=nn.Linear(M, M, bias=False)), equal but for the order of a sum"
        )


class RLeaky(Neuron):
    """Apply snnTorch's RLeaky neurons, each of which feeds back to itself, to an input, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        u = beta v[t-1] + x[t] + V s[t-1]
        subtract: v[t] = u - r[t] threshold,   zero: v[t] = u - r[t] u,   s[t] = H(v[t] - threshold)

    Args:
        beta: share of the membrane kept over a step; clamped to [0, 1].
        V: weight of a neuron's own last spike.
        all_to_all: False; the error for True says what to use.
        threshold: membrane above which the neuron fires.
        spike_grad: a surrogate of ours, or one of this module; None is ``atan()``.
        learn_beta: train beta.
        learn_threshold: train the threshold.
        learn_recurrent: train V.
        reset_mechanism: "subtract", "zero" or "none".
        reset_delay: True resets one step after the spike, without a gradient; False at once, with one.
        **others: returns, as in StepLayer, ("spikes", "v") for instance; other arguments of snnTorch, of which the
            error says what to do.
    """

    def __init__(
        self,
        beta: Value,
        V: Value = 1.0,
        all_to_all: bool = True,
        *,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: Mechanism = "subtract",
        reset_delay: bool = True,
        **others: Any,
    ) -> None:
        _one_to_one("RLeaky", all_to_all)
        super().__init__(
            delayed(steps.rleaky_step, reset_delay),
            steps.RLeakyState,
            beta=beta,
            weight=V,
            threshold=threshold,
            spike_grad=spike_grad,
            reset_mechanism=reset_mechanism,
            others=others,
            learnable=chosen(beta=learn_beta, threshold=learn_threshold, V=learn_recurrent),
        )


class RSynaptic(Neuron):
    """Apply snnTorch's RSynaptic neurons, each of which feeds back to its current, one step of time a call.

    For each entry of the input, with r[t] = H(v[t-1] - threshold) detached and H(0) = 0,

        i[t] = alpha i[t-1] + x[t] + V s[t-1],  u = beta v[t-1] + i[t]
        subtract: v[t] = u - r[t] threshold,   zero: v[t] = u - r[t] u,   s[t] = H(v[t] - threshold)

    Args:
        alpha: share of the current kept over a step; clamped to [0, 1].
        beta: share of the membrane kept over a step; clamped to [0, 1].
        V: weight of a neuron's own last spike.
        all_to_all: False; the error for True says what to use.
        threshold: membrane above which the neuron fires.
        spike_grad: a surrogate of ours, or one of this module; None is ``atan()``.
        learn_alpha: train alpha.
        learn_beta: train beta.
        learn_threshold: train the threshold.
        learn_recurrent: train V.
        reset_mechanism: "subtract", "zero" or "none".
        reset_delay: True resets one step after the spike. False, at once, raises in snnTorch 1.0.0; here it works.
        **others: returns, as in StepLayer, ("spikes", "v") for instance; other arguments of snnTorch, of which the
            error says what to do.
    """

    def __init__(
        self,
        alpha: Value,
        beta: Value,
        V: Value = 1.0,
        all_to_all: bool = True,
        *,
        threshold: Value = 1.0,
        spike_grad: F.Surrogate | None = None,
        learn_alpha: bool = False,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        learn_recurrent: bool = True,
        reset_mechanism: Mechanism = "subtract",
        reset_delay: bool = True,
        **others: Any,
    ) -> None:
        _one_to_one("RSynaptic", all_to_all)
        super().__init__(
            delayed(steps.rsynaptic_step, reset_delay),
            steps.RSynapticState,
            alpha=alpha,
            beta=beta,
            weight=V,
            threshold=threshold,
            spike_grad=spike_grad,
            reset_mechanism=reset_mechanism,
            others=others,
            learnable=chosen(alpha=learn_alpha, beta=learn_beta, threshold=learn_threshold, V=learn_recurrent),
        )
