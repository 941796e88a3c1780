"""Batch norm in training, folded: it takes the statistics of each step, as a network that steps does."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from spikingtorch import validation as checks
from spikingtorch.functional.core.torch_private import AnyBatchNorm, fsdp_state
from spikingtorch.layers.fold_token import FoldToken


def takes_statistics(module: nn.Module) -> bool:
    """Return True if a module is a batch norm that normalises with the statistics of its batch."""
    return isinstance(module, AnyBatchNorm) and (module.training or module.running_mean is None)


def scripted_norm(net: nn.Module) -> str | None:
    """Return the path of a scripted batch norm in training, if any; no mode of torch sees its calls."""
    for path, module in net.named_modules():
        trains = isinstance(module, torch.jit.ScriptModule) and getattr(module, "training", False)
        if trains and "BatchNorm" in str(getattr(module, "original_name", "")):
            return str(path)
    return None


class NormCall(NamedTuple):
    """The arguments of ``torch.nn.functional.batch_norm``."""

    input: Tensor
    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor | None = None
    bias: Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


class _Update(NamedTuple):
    """The update of running statistics by a call of batch norm."""

    running: tuple[Tensor, ...]  # mean and variance; empty if no sample changes them
    of_steps: tuple[Tensor, ...]  # the statistics of each step, (T, C)
    momentum: float | None  # weight of the new statistics; None for the mean over all batches
    counter: Tensor | None  # counter of the batches, if they are counted


class StatisticsOfSteps(TorchFunctionMode):
    """Inside this mode, batch norm in training normalises each step of a fold separately.

        y[n, t] = (x[n, t] - mean[t]) / sqrt(var[t] + eps) * weight + bias,   mean and var over samples and space
        running = (1 - momentum) running + momentum new[t],   t = 0 ... T-1 in order

    The samples of a fold are (N T, C, ...), viewed as (N, T C, ...): one call of torch's batch norm for all steps.
    ``commit`` updates the running statistics after the call, because a call that fails is run again step by step.

    In a padded batch, samples that have ended do not count, and their outputs are zero.

    If ``merged``, it takes one statistic for all steps. The running statistics are then updated in the call, as in
    torch, because code may read them after it.
    """

    def __init__(self, fold: FoldToken, modules: Iterable[nn.Module], merged: bool) -> None:
        super().__init__()
        self.met = False  # whether there was a batch norm in training
        modules = [*modules]
        # whether fully_shard has sharded a batch norm by itself
        self.is_sharded = any([isinstance(each, AnyBatchNorm) and fsdp_state(each) is not None for each in modules])
        self.fold = fold
        self.sizes = (fold.N * fold.T, 1) if merged else (fold.N, fold.T)
        # the samples that count at each step; None if all count
        self.running = None if fold.running is None else fold.running.reshape(self.sizes)
        # the running mean identifies the module of the call
        tracked = [module for module in modules if isinstance(module, AnyBatchNorm) and module.running_mean is not None]
        self._modules = {id(module.running_mean): module for module in tracked}
        counters = [module.num_batches_tracked for module in tracked if module.num_batches_tracked is not None]
        self._counted = [] if torch.compiler.is_compiling() else [(each, each.clone()) for each in counters]
        self._updates: list[_Update] = []
        self._merged = merged

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.fold.is_together:
            return func(*args, **kwargs)
        if func is torch.batch_norm and (args[5] if len(args) > 5 else kwargs.get("training")):
            self.fold.refuse("calls torch.batch_norm, where torch.nn.functional.batch_norm would fold")
        # a function, because torch.compile does not follow a method here
        return _batch_norm(self, NormCall(*args, **kwargs)) if func is F.batch_norm else func(*args, **kwargs)

    def note(self, call: NormCall, of_steps: tuple[Tensor, ...]) -> None:
        """Note an update of running statistics, if a call has some; without new ones, the steps are still counted."""
        if call.running_mean is None or call.running_var is None:
            return
        module = self._modules.get(id(call.running_mean))
        share, counter = (call.momentum, None) if module is None else (module.momentum, module.num_batches_tracked)
        running = (call.running_mean, call.running_var) if of_steps else ()
        self._updates.append(_Update(running, of_steps, share, counter))
        if self._merged:
            self.commit()

    def commit(self) -> None:
        """Update running statistics and counters, in the order of the steps."""
        updates, T = self._updates, self.sizes[1]
        if not updates:  # in an exported program, T is a symbol
            return
        counted = {id(update.counter): update.counter for update in updates if update.counter is not None}
        calls = {key: sum([update.counter is counter for update in updates]) for key, counter in counted.items()}
        averaged = {id(update.counter) for update in updates if update.momentum is None}
        # torch has counted the call once; that is the first step
        batches = {key: int(counter) - calls[key] for key, counter in counted.items() if key in averaged}
        with torch.no_grad():
            for t, update in [(t, update) for t in range(T) for update in updates]:
                share = update.momentum
                if share is None:
                    batches[id(update.counter)] += 1
                    share = 1.0 / batches[id(update.counter)]
                for running, new in zip(update.running, update.of_steps, strict=True):
                    # .data, as in torch's own kernel: graphs that hold the buffer but do not read it stay valid
                    kept = running if checks.functorch_active() else running.data
                    kept.mul_(1.0 - share).add_(new[t], alpha=share)
            for key, counter in counted.items():
                counter.add_((T - 1) * calls[key])
        updates.clear()

    def undo(self) -> None:
        """Reset the counters to their values before the call."""
        for counter, before in self._counted:
            counter.copy_(before)


def _batch_norm(mode: StatisticsOfSteps, call: NormCall) -> Tensor:
    """Do what ``torch.nn.functional.batch_norm`` does, step by step."""
    if not call.training:
        return F.batch_norm(*call)
    if torch.compiler.is_exporting():
        mode.fold.refuse("takes the statistics of each step in batch norm, which torch.export does not follow")
    mode.met = True
    x, (N, T) = call.input, mode.sizes
    C, rest = x.shape[1], x.shape[2:]
    if N == 0:  # nothing is normalised
        mode.note(call, ())
        return F.batch_norm(*call)
    # parts of samples may have been merged into the batch: (N T P, C, ...)
    parts, others = divmod(x.shape[0], N * T)
    if others or not parts:
        mode.fold.refuse(
            f"normalises an input of shape {tuple(x.shape)}, whose first axis is not the batch, with batch norm"
        )
    if mode.running is not None:
        return _of_running(mode, mode.running, call)
    steps = x.reshape(N, T, parts, C, *rest).transpose(1, 2).reshape(N * parts, T * C, *rest)
    steps = steps.contiguous()  # with one sample and one step, torch's backward can misread the strides
    weights, biases = [None if each is None else each.repeat(T) for each in (call.weight, call.bias)]
    # with momentum 1, the running statistics are those of this batch; start from zeros, because NaN times zero is NaN
    mean, var = [None if each is None else each.new_zeros(T * C) for each in (call.running_mean, call.running_var)]
    if steps.numel() == T * C:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    # the function that torch's two others call: this mode does not see it again when torch.compile traces it
    out: Tensor = torch.native_batch_norm(steps, weights, biases, mean, var, True, 1.0, call.eps)[0]
    mode.note(call, () if mean is None or var is None else (mean.view(T, C), var.view(T, C)))
    out = out.reshape(N, parts, T, C, *rest).transpose(1, 2).reshape(x.shape)
    return out.clone() if mode.is_sharded else out  # fully_shard takes no views, see layers/split


def _of_running(mode: StatisticsOfSteps, running: Tensor, call: NormCall) -> Tensor:
    """Normalise, at each step of (N T parts, C, ...), the samples that have not ended; the others become zero."""
    x = call.input
    numbers = torch.arange(x.shape[0], device=x.device).view(mode.sizes[0], mode.sizes[1], -1)
    places = [numbers[rows, t].flatten() for t, rows in enumerate(running.unbind(1))]
    outs, statistics = [], []
    for rows in places:
        mean, var = [None if each is None else torch.zeros_like(each) for each in (call.running_mean, call.running_var)]
        here = x[rows]  # if axes are merged, torch's backward can misread the strides of a single sample
        if here.numel() == x.shape[1]:
            raise ValueError(
                "SpikingNet: one sample alone is still running at some step, and batch norm in training needs more "
                "than one value per channel. Make batches of sequences of similar lengths, or take TimeBatchNorm1d"
            )
        outs.append(F.batch_norm(here, mean, var, call.weight, call.bias, True, 1.0, call.eps))
        statistics += [] if mean is None or var is None else [(mean, var)]
    mode.note(call, tuple([torch.stack(each) for each in zip(*statistics, strict=True)]))
    return x.new_zeros(x.shape).index_put((torch.cat(places),), torch.cat(outs))
