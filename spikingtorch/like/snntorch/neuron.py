"""The common checks and parameters of all neurons of snnTorch."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from spikingtorch import functional as F
from spikingtorch.like.layer import LikeLayer
from spikingtorch.like.options import bounded, number, strict
from spikingtorch.like.snntorch.spike_grad import atan
from spikingtorch.like.steps import snntorch as steps
from spikingtorch.like.steps.snntorch import Mechanism

_MECHANISMS = ("subtract", "zero", "none")  # snnTorch's numbers of the mechanisms
_WITHOUT_MEANING = {
    "init_hidden": "a layer remembers its state by itself: leave it out",
    "output": "a layer gives out its spikes; returns=('spikes', 'v') gives out its membrane as well",
    "inhibition": "it is not elementwise, and has no equal here",
    "state_quant": "it has no equal here; write a step that quantizes, around the one of this neuron",
    "surrogate_disable": "give spike_grad=StraightThrough() and train nothing, or call the layer under torch.no_grad()",
}


def clamped(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with alpha and beta clamped to [0, 1]: outside of it, they get no gradient."""
    return stored | {name: bounded(stored[name]) for name in ("alpha", "beta") if name in stored}


class Neuron(LikeLayer):
    """A neuron of snnTorch, made of a step with a delayed reset.

    ``**given`` are its parameters by snnTorch's names and, as ``learn_beta``, whether each is trained.
    """

    attribute_names: ClassVar[Mapping[str, str]] = {
        "surrogate": "spike_grad",
        "factor": "graded_spikes_factor",
        "weight": "V",
    }
    reasons: ClassVar[Mapping[str, str]] = _WITHOUT_MEANING
    saves_numbers: ClassVar[bool] = True

    def __init__(
        self,
        step: Callable[..., Any],
        state_type: type[Any],
        *,
        spike_grad: F.Surrogate | None,
        reset_mechanism: Mechanism,
        others: dict[str, Any],
        reset_delay: bool = True,
        **given: Any,
    ) -> None:
        owner = type(self).__name__
        runs: Any = step if reset_delay else steps.Undelayed(step)
        learned = [name.removeprefix("learn_") for name in given if name.startswith("learn_") and given[name]]
        params = self._kept({name: given[name] for name in given if not name.startswith("learn_")})
        if reset_mechanism not in _MECHANISMS:
            raise ValueError(f"{owner}: reset_mechanism={reset_mechanism!r}, expected 'subtract', 'zero' or 'none'")
        for name, value in params.items():
            number(owner, name, value)
        super().__init__(
            runs,
            state_type,
            others,
            learnable=learned,
            **params,
            surrogate=strict(owner, "spike_grad", spike_grad, atan()),
            reset_mechanism=reset_mechanism,
        )

    param_map = staticmethod(clamped)

    @staticmethod
    def _kept(given: dict[str, Any]) -> dict[str, Any]:
        """Return the stored values of the given parameters, checked against their limits."""
        return given

    def _takes(self, name: str, value: Any) -> bool:
        """Compare the reset mechanism as well, and drop a factor of spikes that is 1."""
        if name == "graded_spikes_factor" and not hasattr(self, name):
            return bool((value == 1).all())
        if name != "reset_mechanism_val":
            return super()._takes(name, value)
        if (theirs := _MECHANISMS[int(value)]) != self.reset_mechanism:
            raise ValueError(
                f"reset_mechanism is {theirs!r} in the checkpoint and {self.reset_mechanism!r} in the layer"
            )
        return True
