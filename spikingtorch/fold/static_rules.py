"""Rules by class: which modules may see all steps of a sequence as one batch."""

from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import parametrize

from spikingtorch.fold.batch_norm import takes_statistics
from spikingtorch.layers.steplayer import StepLayer

# the files of torch.nn.modules whose modules compute each sample of a batch by itself ...
_FILES = {
    *("activation", "batchnorm", "channelshuffle", "container", "conv", "distance", "dropout", "flatten", "fold"),
    *("instancenorm", "linear", "normalization", "padding", "pixelshuffle", "pooling", "sparse", "upsampling"),
}
_KNOWN = {f"torch.nn.modules.{name}" for name in _FILES} | {
    "torch.nn.utils.parametrize",
    "torch.nn.utils.parametrizations",
    "torch._dynamo.eval_frame",  # what torch.compile wraps around a module
}
# ... but for these
_MIXES = (nn.MultiheadAttention, nn.EmbeddingBag)
_INSTANCE_NORMS = (nn.modules.instancenorm._InstanceNorm,)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def hooks_of_all_modules() -> bool:
    """Say whether there are hooks that every module calls."""
    return any(getattr(torch_module, f"_global{name}", None) for name in HOOKS)


def hooked(net: nn.Module) -> str | None:
    """Return which hooks a network has, as a reason to step."""
    if hooks_of_all_modules():
        return "runs under hooks of all modules, which are called once a step"
    for path, module in net.named_modules():
        if any(getattr(module, hooks, None) for hooks in HOOKS):
            return f"has hooks on {path or 'the network'}, which are called once a step"
    return None


def with_side_effects(net: nn.Module) -> str | None:
    """Return which layer has a step that changes what is outside of it, as a reason to step."""
    for path, layer in net.named_modules():
        if isinstance(layer, StepLayer) and (effect := layer.side_effect()):
            return f"holds {path or 'the network'}, whose step {effect}"
    return None


def reason_to_step(net: nn.Module) -> str | None:
    """Return why a network cannot be handed all steps at once, or None if nothing in it speaks against it.

    Modules of torch are known by their class. What others do, in a ``forward`` of their own, only running them shows.
    """
    for path, module in net.named_modules():
        if reason := _objection_to(module):
            return f"holds {path or 'the network'}, a {type(module).__name__}, {reason}"
    return None


def _objection_to(module: nn.Module) -> str | None:
    if isinstance(module, nn.SyncBatchNorm) and takes_statistics(module):
        return "which takes its statistics over several processes, step by step; nn.BatchNorm in its place folds"
    if isinstance(module, _INSTANCE_NORMS) and module.training and module.track_running_stats:
        return "which updates its statistics at every step"
    kind = type(module).__mro__[1] if parametrize.is_parametrized(module) else type(module)
    if kind.__module__.startswith("torch.") and (kind.__module__ not in _KNOWN or issubclass(kind, _MIXES)):
        return "which may mix the samples of a batch or keep a state"
    return None
