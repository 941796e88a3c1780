"""Batch norm in evaluation as a part of the weights before it."""

from collections import Counter
from typing import Any, NamedTuple, NoReturn, TypeVar

from torch import Tensor, fx, nn

from spikingtorch.functional.core.torch_private import AnyBatchNorm
from spikingtorch.layers.passed_init import InitHook
from spikingtorch.layers.time_norm import TimeNorm
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.step_graph.norms import merge_norm, norm_of
from spikingtorch.step_graph.trace import trace

M = TypeVar("M", bound=nn.Module)
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class FoldedNorm(nn.Identity):
    """The place of a batch norm that has become part of the weights before it: returns its input.

    Args:
        axes: the number of axes that the input must have; None for any.
    """

    def __init__(self, axes: int | None = None) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, input: Tensor, init: bool | Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Return the input; init is there because a batch norm over time takes it.

        Raises:
            ValueError: the input has another number of axes, so that the norm would have normalised another one.
        """
        # torch.fx passes a placeholder
        if self.axes is not None and isinstance(input, Tensor) and input.ndim != self.axes:
            raise ValueError(
                f"fold_norms: a batch norm behind a Linear was merged into its weights, and gets {input.ndim} axes "
                f"here, expected {self.axes}: (N, features). Normalise over the last axis before you merge it"
            )
        return input


class _Pair(NamedTuple):
    """A batch norm to merge, its path, and the layer before it."""

    path: str
    norm: nn.Module
    layer: Any


def fold_norms(model: M) -> M:
    """Merge each batch norm into the weights of the layer before it, in place, as a chip has it.

        y = g (x - mean) + beta,  g = gamma / sqrt(var + eps),  x = W s + b  becomes  y = (g W) s + g (b - mean) + beta

    It takes the running statistics, as in evaluation; train the model before, or train it on without batch norm. The
    layers are Linear and Conv1d to Conv3d. The norms are ``nn.BatchNorm1d`` to ``3d``, ``TimeBatchNorm1d``,
    ``TimeBatchNorm2d`` and ``ThresholdDependentBatchNorm``. A layer without a bias gets one. In the place of the norm
    stays a module that returns its input, so that the other keys of ``state_dict`` stay the same. Results change by
    rounding only.

    Args:
        model: a SpikingNet or any other module whose forward ``torch.fx`` can trace.

    Returns:
        The model.

    Raises:
        ValueError: forward cannot be traced. A norm does not directly follow such a layer, or something else reads the
            output of that layer; or one of them is called twice, has hooks, or shares its weights. The norm has no
            running statistics. The weights are rounded already. Nothing is changed then.

    >>> import torch
    >>> from spikingtorch import LIF
    >>> model = SpikingNet(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), LIF())).eval()
    >>> x = torch.rand(4, 5, 3)
    >>> before = model(x)
    >>> torch.equal(fold_norms(model)(x), before), model.net[1]
    (True, FoldedNorm())
    """
    net: nn.Module = model.net if isinstance(model, SpikingNet) else model
    norms = _norms(net)
    if norms:
        pairs = _pairs(net, norms)
        for pair in pairs:
            merge_norm(pair.layer, pair.norm)
        for pair in pairs:
            parent, _, name = pair.path.rpartition(".")
            axes = 2 if isinstance(pair.layer, nn.Linear) else None
            net.get_submodule(parent).add_module(name, FoldedNorm(axes))
    return model


def _norms(net: nn.Module) -> dict[str, nn.Module]:
    """Return the norms of a network by path, without those inside a norm over time."""
    found = {path: each for path, each in net.named_modules() if isinstance(each, AnyBatchNorm | TimeNorm)}
    return {path: each for path, each in found.items() if path.rpartition(".")[0] not in found}


def _pairs(net: nn.Module, norms: dict[str, nn.Module]) -> list[_Pair]:
    graph = trace(net, "fold_norms")
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    calls = Counter(id(net.get_submodule(str(node.target))) for node in nodes)
    found = [_pair(net, node, calls) for node in nodes if str(node.target) in norms]
    if missing := norms.keys() - {pair.path for pair in found}:
        _refuse(min(missing), norms[min(missing)], "is never called; take it out")
    return found


def _pair(net: nn.Module, node: fx.Node, calls: Counter[int]) -> _Pair:
    path = str(node.target)
    norm: Any = net.get_submodule(path)
    before = node.args[0] if node.args else None
    layer: Any = None
    if isinstance(before, fx.Node) and before.op == "call_module":
        layer = net.get_submodule(str(before.target))
    if not isinstance(layer, _WEIGHTED) or not isinstance(before, fx.Node):
        _refuse(path, norm, "does not directly follow a Linear or a convolution; put it there")
    if len(before.users) > 1:
        _refuse(path, norm, f"is not alone in reading the output of {str(before.target)!r}, which it would change")
    if calls[id(layer)] > 1 or calls[id(norm)] > 1:
        _refuse(path, norm, "or the layer before it is called twice; give each call a module of its own")
    _check(path, norm, layer, net)
    return _Pair(path, norm, layer)


def _check(path: str, norm: nn.Module, layer: Any, net: nn.Module) -> None:
    inner = (norm_of(norm) or (norm, 1.0))[0]
    weights = [layer._parameters.get(name) for name in ("weight", "bias")]
    if weights[0] is None or (weights[1] is None and layer.bias is not None):
        _refuse(path, norm, "follows weights that are computed, rounded for instance. Merge it before prepare_qat")
    own = {id(weight) for weight in weights if weight is not None}
    others = [each for each in net.modules() if each is not layer]
    if any(id(weight) in own for each in others for weight in each._parameters.values()):
        _refuse(path, norm, "follows weights that another layer shares; give each layer its own, copy.deepcopy(layer)")
    if not isinstance(inner, AnyBatchNorm) or inner.running_mean is None or inner.running_var is None:
        _refuse(path, norm, "has no running statistics; train with track_running_stats=True")
    if inner.num_features != len(layer.weight):
        _refuse(
            path, norm, f"normalises {inner.num_features} channels, and the layer before it has {len(layer.weight)}"
        )
    for module in (norm, inner, layer):
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        if not all(isinstance(hook, InitHook) for hook in hooks):
            _refuse(path, norm, "or the layer before it has a forward hook; remove it")


def _refuse(path: str, norm: nn.Module, why: str) -> NoReturn:
    raise ValueError(f"fold_norms: {path!r} ({type(norm).__name__}) {why}")
