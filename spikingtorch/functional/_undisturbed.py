"""Running something as if nobody had called it from anywhere."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch._C._functorch import peek_interpreter_stack


@contextmanager
def outside_transforms() -> Iterator[None]:
    """Run outside of every ``torch.func`` transform, dispatch mode, hook on saved tensors and of inference mode."""
    with ExitStack() as stack:
        if peek_interpreter_stack() is not None:
            from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

            stack.enter_context(temporarily_clear_interpreter_stack())
        if torch._C._len_torch_dispatch_stack():
            from torch.utils._python_dispatch import _disable_current_modes

            stack.enter_context(_disable_current_modes())
        if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:  # pyright: ignore
            stack.enter_context(torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t))
        stack.enter_context(torch.inference_mode(False))
        yield
