"""Padded batches, whose sequences are padded at their ends to the length of the longest: x, the step, what it keeps."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from spikingtorch import functional as F
from spikingtorch.functional.recorded import records_inside
from spikingtorch.layers.base import Memory
from spikingtorch.layers.batch_norm import scripted_norm, takes_statistics
from spikingtorch.layers.time_norm import TimeNorm
from spikingtorch.validation import check_lengths, has_values

Lengths: TypeAlias = Tensor | np.ndarray[Any, Any] | Sequence[int]


def without_padding(x: Tensor, lengths: Lengths) -> tuple[Tensor, Tensor]:
    """Return a padded batch with zeros as padding, and the mask of the steps that are none.

    They have the shapes (N, T', ...) and (N, T'). T' is the greatest length if Python may read it, else T.
    """
    N, T = x.shape[:2]
    checked = check_lengths("SpikingNet", lengths, N, T).to(x.device)
    running = torch.arange(T, device=x.device) < checked[:, None]
    if has_values(checked):
        longest = int(checked.max())
        x, running = x[:, :longest], running[:, :longest]
    return padded(x, running, x.shape[1]), running


def padded(x: Tensor, running: Tensor, T: int) -> Tensor:
    """Return (N, T, ...) with zeros at the padded steps of (N, T', ...), and after them."""
    mask = running.view(*running.shape, *(1,) * (x.ndim - 2))
    kept = torch.where(mask, x, torch.zeros_like(x))
    after = T - x.shape[1]
    return torch.cat([kept, kept.new_zeros(x.shape[0], after, *x.shape[2:])], 1) if after else kept


def check_norms_of_padded(net: nn.Module) -> None:
    """Raise if a batch norm would take its statistics over padding."""
    inside = {id(module.norm) for module in net.modules() if isinstance(module, TimeNorm)}
    where = scripted_norm(net)
    for path, module in net.named_modules():
        if isinstance(module, nn.SyncBatchNorm) and takes_statistics(module) and id(module) not in inside:
            where = path
    if where is not None:
        raise ValueError(
            f"SpikingNet: with lengths, {where} would take its statistics over the padding as well, because this "
            "batch norm cannot leave it out. Take nn.BatchNorm1d, or TimeBatchNorm1d, in its place"
        )


def masked(step: Any) -> Any:
    """Return the step for a batch in which some samples have ended."""
    step = records_inside(step)
    if isinstance(step, F.Recurrent):
        neuron: Any = F.Masked(step.step)
        return F.Recurrent(neuron, step.synapse)
    return F.Masked(step)


def where_running(memory: Memory, state: Any, output: Any, s: Any, running: Tensor) -> tuple[Any, Any]:
    """Return state and last output after some steps; samples without a step keep those of the memory before.

    ``output`` is that of each sample's last step, ``s`` the same in full precision, and ``running`` says which samples
    had a step, (N,).
    """
    if isinstance(state, F.RecurrentState):
        state = state._replace(s=F.reset_where(running, memory.state.s, s))
    return state, output if memory.output is None else F.reset_where(running, memory.output, output)
