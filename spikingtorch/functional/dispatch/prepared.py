"""PreparedLaunch: a folded scan that has run before, ready for tensors of the same form."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from spikingtorch.functional.core.torch_private import dispatch_keys
from spikingtorch.functional.dispatch import bind
from spikingtorch.functional.dispatch.reference import LoopReference
from spikingtorch.functional.dispatch.signature import Signature
from spikingtorch.functional.fused.runtime.autograd import differentiable
from spikingtorch.functional.fused.runtime.executable import Executable, Launched
from spikingtorch.functional.fused.runtime.launcher import Launcher
from spikingtorch.functional.fused.trace.programs import Arguments


class PreparedLaunch(NamedTuple):
    """A folded scan with everything decided but its numbers."""

    executable: Executable
    launcher: Launcher  # of the forward pass
    scalars: tuple[float, ...]  # floats of the program
    arguments: Arguments  # of the step, without their numbers
    differentiates: bool  # whether autograd records the scan
    forms: list[Any]  # of the tensors

    @classmethod
    def of(cls, signature: Signature) -> "PreparedLaunch | None":
        """Return the launch of a scan that has just run; None if its tensors have to be changed before."""
        bound = bind.find(signature)
        if bound is None or bound.fits is not None:
            return None
        run, (_, tensors, floats, differentiates) = bound.executable, signature.numbers
        launcher = run.forward_launcher((*run.rest, *tensors), differentiates and run.saves_states)
        found = run, launcher, bound.scalars(floats), bound.arguments, differentiates
        return cls(*found, [*map(_form, tensors)])

    def run(self, step: Callable[..., Any], tensors: list[Tensor]) -> tuple[list[Tensor], Tensor, Tensor] | None:
        """Return the last states, all outputs and the last output; None if a tensor has another form, or an input NaN.

        Args:
            step: the step.
            tensors: of the states unless the scan starts at rest, the input, and the parameters.
        """
        if [*map(_form, tensors)] != self.forms:
            return None
        executable = self.executable
        found, finite = self.launcher((*executable.rest, *tensors), self.scalars)
        if not finite:
            return None
        count = executable.spec.counts[0]
        states, out, last = found[:count], found[count], found[count + 1]
        if self.differentiates:
            launched = Launched(executable, states, [out], [last], [], False, found[count + 2 :], True)
            (out,) = differentiable(launched, self.scalars, LoopReference(step, self.arguments).gradients, tensors)
        return states, out, last


def _form(tensor: Any) -> tuple[Any, ...]:
    """Return the form of a strided tensor: all that a kernel or autograd may ask for, except numbers and version."""
    keys = dispatch_keys(tensor).raw_repr()
    return type(tensor), keys, tensor.dtype, tensor.shape, tensor.stride(), tensor.requires_grad
