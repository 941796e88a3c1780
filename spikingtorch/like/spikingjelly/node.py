"""The common checks and parameters of all nodes of SpikingJelly, and the step mode of stateful layers."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.layers.multi_step import Merged, Steps, over_time
from spikingtorch.like.layer import LikeLayer
from spikingtorch.like.options import Common, Value, number, surrogate


class WithStepMode(LikeLayer):
    """A layer that takes one step a call or, with ``step_mode="m"``, all steps of a sequence, (T, N, ...).

    With "m", a call continues from the last call until ``reset()``. In a ``SpikingNet``, which runs over time by
    itself, the mode is "s".
    """

    _step_mode = "s"

    @property
    def step_mode(self) -> str:
        """The input of a call: "s" for one step, "m" for all steps of a sequence."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, step_mode: str) -> None:
        if step_mode not in ("s", "m"):
            raise ValueError(f"{type(self).__name__}: step_mode={step_mode!r}, expected 's' or 'm'")
        self._step_mode = step_mode

    def forward(self, x: Tensor, init: bool | Tensor | None = None) -> Tensor:
        """Advance one step, or with ``step_mode="m"`` all steps of a sequence; see ``StepLayer`` and ``MultiStep``.

        The input is floating, of shape (N, ...), or (T, N, ...).
        """
        output: Tensor
        if self._step_mode == "s" or isinstance(init, Steps | Merged):  # of a MultiStep around it
            output = self._advance_on(x, init)
        else:
            owner, alone = f"{type(self).__name__} (step_mode='m')", "leave it at step_mode='s'"
            output = over_time(owner, alone, self, self._advance_on, [x], {}, init)
        return output

    def _advance_on(self, x: Tensor, init: bool | Tensor | None) -> Any:
        """Convert an input for the step, and advance one step, or all steps."""
        return self._advance(x, init)

    def detach(self) -> None:
        """Cut the state from its graph, as ``detach_``: SpikingJelly's ``functional.detach_net`` calls this."""
        self.detach_()

    def extra_repr(self) -> str:
        """Return the parameters, and the step mode if it is not "s"."""
        mode = [] if self._step_mode == "s" else [f"step_mode={self._step_mode!r}"]
        return ", ".join([*filter(None, [super().extra_repr()]), *mode])


class Firing(Common, total=False):
    """Arguments of every node besides the parameters of its membrane.

    Attributes:
        v_threshold: membrane at which it fires.
        v_reset: membrane after a spike and at the start; None subtracts the threshold, and starts at 0.
        surrogate_function: a surrogate of this library, or one of ``like.spikingjelly``; None is SpikingJelly's
            default.
        detach_reset: stop the gradient through the reset.
        step_mode: "s", a call takes one step, (N, ...); or "m", a call takes all steps of a sequence, (T, N, ...), and
            continues from the last call until ``reset()``. A SpikingNet runs over time by itself and takes "s".
        backend: without effect: one loop is compiled for each device.
        store_v_seq: raises an error with the reason.
    """

    v_threshold: Value
    v_reset: float | None
    surrogate_function: F.Surrogate | None
    detach_reset: bool
    step_mode: str
    backend: str
    store_v_seq: bool


def reset_rule(v_reset: float | None, detach_reset: bool) -> F.Reset:
    """Return the reset to a value, or by subtraction for None."""
    rule: Any = F.by_subtraction if v_reset is None else F.to_zero if v_reset == 0.0 else F.ToValue(v_reset)
    return F.detached(rule) if detach_reset else rule


class Node(WithStepMode):
    """A node: its step, with a threshold, a reset and a spike function."""

    attribute_names: ClassVar[Mapping[str, str]] = {
        "threshold": "v_threshold",
        "surrogate": "surrogate_function",
        "rule": "reset_rule",
    }
    starts: ClassVar[Mapping[str, str]] = {"v": "v_reset"}
    reasons: ClassVar[Mapping[str, str]] = {
        "store_v_seq": "returns=('spikes', 'v') gives out the membranes of all steps beside the spikes"
    }
    default_surrogate: ClassVar[F.Surrogate] = F.Sigmoid(4.0)
    defaults: ClassVar[Mapping[str, Any]] = {"v_threshold": 1.0, "v_reset": 0.0}
    above: ClassVar[Mapping[str, float]] = {"tau": 1.0}  # parameters that must be above a number

    def __init__(
        self,
        step: Callable[..., Any],
        state_type: type[Any],
        firing: Mapping[str, Any],
        learnable: Iterable[str] = (),
        **params: Any,
    ) -> None:
        owner = type(self).__name__
        given = dict(firing)
        threshold = given.pop("v_threshold", self.defaults["v_threshold"])
        reset = given.pop("v_reset", self.defaults["v_reset"])
        spike = surrogate(owner, "surrogate_function", given.pop("surrogate_function", None), self.default_surrogate)
        detach = given.pop("detach_reset", False)
        step_mode, _ = given.pop("step_mode", "s"), given.pop("backend", None)
        if not given.get("store_v_seq", True):
            del given["store_v_seq"]
        if not (reset is None or (isinstance(reset, float | int) and not isinstance(reset, bool))):
            raise TypeError(f"{owner}: v_reset={reset!r}, expected a float, or None to subtract the threshold")
        for name, value in ({"v_threshold": threshold} | params).items():
            if not callable(value):
                number(owner, name, value, above=self.above.get(name))
        v_reset = None if reset is None else float(reset)
        super().__init__(
            step,
            state_type,
            given,
            learnable=learnable,
            threshold=threshold,
            surrogate=spike,
            rule=reset_rule(v_reset, bool(detach)),
            **params,
        )
        self.step_mode = step_mode

    @property
    def v_reset(self) -> float | None:
        """Membrane after a spike and at the start; None for the reset by subtraction."""
        rule: Any = self.reset_rule
        rule = rule.rule if isinstance(rule, F.Detached) else rule
        if rule is F.by_subtraction:
            return None
        return float(rule.v_reset) if isinstance(rule, F.ToValue) else 0.0

    @staticmethod
    def param_map(stored: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with the reset rule under the name of the step's argument."""
        params = dict(stored)
        return {"reset": params.pop("rule")} | params
