"""The step mode of SpikingJelly's layers with a state."""

from typing import Any

from torch import Tensor

from spikingtorch.layers.multi_step import Steps, over_time
from spikingtorch.like.layer import LikeLayer


class WithStepMode(LikeLayer):
    """A layer that takes one step a call or, with ``step_mode="m"``, all steps of a sequence, (T, N, ...).

    With "m", a call goes on from the one before it until ``reset()``. In a ``SpikingNet``, which runs over time by
    itself, the mode is "s".
    """

    _step_mode = "s"

    @property
    def step_mode(self) -> str:
        """What a call takes: "s" for one step, "m" for all steps of a sequence."""
        return self._step_mode

    @step_mode.setter
    def step_mode(self, step_mode: str) -> None:
        if step_mode not in ("s", "m"):
            raise ValueError(f"{type(self).__name__}: step_mode={step_mode!r}, expected 's' or 'm'")
        self._step_mode = step_mode

    def forward(self, x: Tensor, init: bool | Tensor | None = None) -> Tensor:
        """Advance one step or, with ``step_mode="m"``, all steps of a sequence; see ``StepLayer`` and ``MultiStep``.

        Args:
            x: input, floating, shape (N, ...), or (T, N, ...).
            init: as in ``StepLayer.forward``.
        """
        output: Tensor
        if self._step_mode == "s" or isinstance(init, Steps):  # of a MultiStep around it
            output = self._advance_on(x, init)
        else:
            owner, alone = f"{type(self).__name__} (step_mode='m')", "leave it at step_mode='s'"
            output = over_time(owner, alone, self, self._advance_on, [x], {}, init)
        return output

    def _advance_on(self, x: Tensor, init: bool | Tensor | None) -> Any:
        """Advance by what an input becomes for the step: one step, or all of them."""
        return self._advance(x, init)

    def detach(self) -> None:
        """Cut the state from its graph, as ``detach_``: SpikingJelly's ``functional.detach_net`` calls this."""
        self.detach_()

    def extra_repr(self) -> str:
        """Name the parameters, and the step mode if it is not "s"."""
        mode = [] if self._step_mode == "s" else [f"step_mode={self._step_mode!r}"]
        return ", ".join([*filter(None, [super().extra_repr()]), *mode])
