"""Batch norms over time: one statistic over the batch and all steps of a sequence."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from spikingtorch.functional.core.torch_private import AnyBatchNorm, fsdp_state
from spikingtorch.layers.base import StatefulLayer
from spikingtorch.layers.batch_norm import takes_statistics
from spikingtorch.layers.constants import unpacked
from spikingtorch.layers.fold_token import FoldToken
from spikingtorch.layers.frame import frame_of, init_and_running
from spikingtorch.validation import check_parameter


class WithInnerKeys(nn.Module):
    """A module whose state dict has the keys of its inner module, without the name of that module.

    The parameters, buffers and submodules of the inner module are attributes of this module as well, because
    ``torch.distributed.checkpoint`` looks for them there. A state dict with the name of the inner module can be loaded
    too.
    """

    inside: ClassVar[str]

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the tensors of this module, and those of the inner module under its own keys."""
        found: Any = super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        inner = f"{prefix}{self.inside}."
        for key in [key for key in found if key.startswith(inner)]:
            found[prefix + key.removeprefix(inner)] = found.pop(key)
        return found

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any, **named: Any) -> None:
        # torch passes to each child the entries that begin with its name
        has_own = type(self).get_extra_state is not nn.Module.get_extra_state
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key.removeprefix(prefix)
            if not name.startswith(f"{self.inside}.") and not (has_own and name == "_extra_state"):
                state_dict[f"{prefix}{self.inside}.{name}"] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)

    def __getattr__(self, name: str) -> Any:
        inner = self.__dict__.get("_modules", {}).get(self.inside)
        if inner is not None and (name in inner._parameters or name in inner._buffers or name in inner._modules):
            return getattr(inner, name)
        return super().__getattr__(name)


class TimeNorm(WithInnerKeys, StatefulLayer):
    """A batch norm of torch, called once with all steps of a sequence.

    Args:
        norm: the batch norm. It is a submodule, so that code which looks for torch's norms finds it. For instance,
            ``nn.SyncBatchNorm.convert_sync_batchnorm`` replaces it by a norm with the statistics of all processes. Its
            tensors have the keys of an ``nn.BatchNorm`` in ``state_dict``, so that each can load that of the other.
        scale: factor of the weight.
    """

    inside = "norm"
    memoryless = True

    def __init__(self, norm: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.norm = norm
        self.scale = scale

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Return the tensors of the norm under the keys of an ``nn.BatchNorm``, and a scale if there is one."""
        found = super().state_dict(*args, destination=destination, prefix=prefix, keep_vars=keep_vars)
        if not self._constants():
            del found[f"{prefix}_extra_state"]
        return found

    def forward(self, x: Tensor, init: bool | Tensor | None = None) -> Tensor:
        """Normalise one step, in evaluation, or all steps of a fold.

        Args:
            x: shape (N, C, ...).
            init: the ``init`` of the network; it may be left out.

        Raises:
            ValueError: the norm is in training, and its input is not all steps of a sequence.
        """
        frame = frame_of(self)
        init, _ = init_and_running(self, frame, init)
        if frame is not None and frame.fold is not None:
            out: Tensor = frame.fold.call(self, x, init)
            return out
        if isinstance(init, FoldToken):  # the fold of a call that is over, which checkpoint repeats
            return self._advance_all(x, init)
        if takes_statistics(self.norm):
            raise ValueError(
                f"{type(self).__name__}: in training it takes its statistics over all steps of a sequence, and it "
                "was called with one of them. Run it in a SpikingNet that folds: SpikingNet(..., mode='fold') "
                "does, or says why it cannot. In evaluation, it can also run step by step"
            )
        return self._normalise(x)

    def set_extra_state(self, state: Any) -> None:
        """Load a scale; ignore a scale of 1, which older checkpoints have for every norm.

        Raise ValueError if there is no scale in the layer, or none in the checkpoint.
        """
        if self._constants() or state.is_meta or unpacked(state) != {"scale": 1.0}:
            super().set_extra_state(state)

    def whole_step(self) -> Any:
        """Return the norm and its parameters."""
        return self.norm, dict(self.norm.named_parameters())

    def _rehearse(self, inputs: Any) -> Any:
        return inputs.clone()

    def _advance_all(self, x: Tensor, fold: FoldToken) -> Tensor:
        if not takes_statistics(self.norm):
            return self._normalise(x)
        if not fold.complete:
            raise ValueError(
                f"{type(self).__name__}: in training it takes its statistics over all steps of a sequence, and it was "
                "called with a part of one. Leave out time_chunk, and start with init=True"
            )
        fold.is_together = True
        try:
            if fold.running is None:
                return self._normalise(x)
            rows = fold.running.flatten()
            return torch.zeros_like(x).index_put((rows,), self._normalise(x[rows]))
        finally:
            fold.is_together = False

    def _normalise(self, x: Tensor) -> Tensor:
        weights = {} if self.scale == 1.0 else {"weight": self.scale * self.norm.get_parameter("weight")}
        if weights and fsdp_state(self.norm) is not None:
            raise ValueError(
                f"{type(self).__name__}: its norm is sharded by itself, and would take its own weight in place of the "
                "scaled one. Shard the layer: fully_shard(layer), without fully_shard(layer.norm)"
            )
        out: Tensor = functional_call(self.norm, weights, (x,)) if weights else self.norm(x)
        return out


def needs_sequence(module: nn.Module) -> bool:
    """Return True if a module needs all steps of a sequence in one call."""
    return isinstance(module, TimeNorm) and takes_statistics(module.norm)


class TimeBatchNorm1d(TimeNorm):
    """Batch norm with statistics over the batch and all steps together.

        y[n, t, c, ...] = (x[n, t, c, ...] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]
        mean[c], var[c] over n, t and space;   running = (1 - momentum) running + momentum new, once a sequence

    ``nn.BatchNorm1d`` takes the statistics of each step separately. In training, this one needs all steps of a sequence
    in one call: a ``SpikingNet`` that folds, without ``time_chunk``. In evaluation it is an ``nn.BatchNorm1d``, in any
    mode. With ``lengths``, the steps after the end of a sample do not count.

    Args:
        num_features: C, of inputs (N, C) or (N, C, L).
        eps: added to the variance.
        momentum: weight of the new statistics in the running ones; None for the average over all batches.
        affine: whether weight and bias are learned.

    Raises:
        ValueError: in training, it is called with a part of a sequence.

    >>> from spikingtorch import SpikingNet
    >>> model = SpikingNet(nn.Sequential(TimeBatchNorm1d(1)))
    >>> model(torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])).flatten()  # of mean 2.5, whatever the step
    tensor([-1.3416, -0.4472,  0.4472,  1.3416], grad_fn=<ViewBackward0>)
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> None:
        super().__init__(nn.BatchNorm1d(num_features, eps, momentum, affine))


class TimeBatchNorm2d(TimeNorm):
    """Batch norm of images with statistics over the batch and all steps together; see ``TimeBatchNorm1d``.

    Args:
        num_features: C, of inputs (N, C, H, W).
        eps, momentum, affine: as there.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True) -> None:
        super().__init__(nn.BatchNorm2d(num_features, eps, momentum, affine))


class ThresholdDependentBatchNorm(TimeNorm):
    """Batch norm over batch and time that scales its output to the threshold of the neurons after it.

        y[n, t, c, ...] = weight[c] (alpha threshold (x[n, t, c, ...] - mean[c]) / sqrt(var[c] + eps)) + bias[c]

    The mean and variance, and the needs in training, are those of ``TimeBatchNorm1d``. As in H. Zheng, Y. Wu, L. Deng,
    Y. Hu, G. Li, AAAI 2021, "Going deeper with directly-trained larger spiking neural networks".

    Args:
        num_features: C, of inputs (N, C) or (N, C, ...), with any axes of space.
        threshold: threshold v0 of the neurons after it, positive.
        alpha: another factor, for branches that are added up; positive.
        eps, momentum: as in ``TimeBatchNorm1d``.

    Raises:
        ValueError: threshold or alpha is not positive; or as in ``TimeBatchNorm1d``.
    """

    def __init__(
        self,
        num_features: int,
        threshold: float = 1.0,
        alpha: float = 1.0,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
    ) -> None:
        for name, value in (("threshold", threshold), ("alpha", alpha)):
            check_parameter(type(self).__name__, name, value, above=0.0)
        super().__init__(_AnyBatchNorm(num_features, eps, momentum), scale=alpha * threshold)

    def _constants(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def extra_repr(self) -> str:
        """Name the factor."""
        return f"scale={self.scale:g}"


class _AnyBatchNorm(AnyBatchNorm):
    """Batch norm of inputs with any axes of space."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected an input (N, C, ...), got shape {tuple(input.shape)}")
