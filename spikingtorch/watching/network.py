"""Network: the interface of a SpikingNet that is used here, and a copy of one that runs in its place."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from types import FunctionType
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from spikingtorch import axes
from spikingtorch import validation as checks
from spikingtorch.fold.guard import NetworkSnapshot
from spikingtorch.fold.hooks import HOOKS
from spikingtorch.functional.core.bytecode import cells_of, reads_of
from spikingtorch.functional.core.guard import Guard
from spikingtorch.functional.core.modes import HOST
from spikingtorch.functional.core.network_mode import NetworkMode
from spikingtorch.functional.core.sharing import copied
from spikingtorch.functional.core.surroundings import RandomNumbers
from spikingtorch.functional.core.torch_private import InferenceMode, is_shard
from spikingtorch.functional.core.undo import run_or_undo

T = TypeVar("T")


class Network(Protocol):
    """A ``SpikingNet``."""

    net: nn.Module
    batch_first: bool

    def __call__(self, x: Tensor, /, **options: Any) -> Any:
        """Run it over a sequence."""
        ...

    def alone(self, work: Callable[[], T], undo: Callable[[], object]) -> T:
        """Return the result of ``work``, while calls of other threads wait; undo it after an error."""
        ...

    def watched(self, mode: NetworkMode, work: Callable[[], T]) -> T:
        """Return the result of ``work``; a mode sees the functions that the network calls."""
        ...


def check_network(owner: str, model: Any) -> None:
    """Raise TypeError unless a model is a SpikingNet."""
    if not (isinstance(model, nn.Module) and hasattr(model, "watched") and hasattr(model, "net")):
        raise TypeError(f"{owner}: model is a {type(model).__name__}, expected a SpikingNet; wrap it: SpikingNet(net)")


def check_sequences(owner: str, x: Any, batch_first: bool) -> Tensor:
    """Return an input; raise unless it is a batch of sequences of at least one sample.

    Raises:
        TypeError: x is not a floating tensor.
        ValueError: x has another rank, or no samples.
    """
    checks.check_floating(owner, "x", x)
    expected = f"{axes.named(batch_first)}: {axes.spelled(batch_first)}, features; an encoder adds the steps"
    checks.check_rank(owner, "x", x, expected, 2)
    if not axes.sizes(x, batch_first)[0]:
        raise ValueError(f"{owner}: x has shape {tuple(x.shape)}, which holds no samples")
    found: Tensor = x
    return found


def on_copy(owner: str, model: Network, work: Callable[[Any], T], *given: Tensor) -> T:
    """Return the result of ``work`` on a copy of a network, and leave everything unchanged.

    The network itself does not run, so its weights, statistics, states, records, hooks and attributes stay unchanged.
    The random numbers of each device of the network or a tensor are restored. So are outside variables that the
    network's code changes: in its module, or in the closure of a function or a hook.

    ``work`` takes the copy, which has the network's order of axes, and runs it on tensors like the given ones.

    Raises:
        TypeError: something in the network cannot be copied.
        ValueError: weights are split over processes.
    """
    if any(map(is_shard, model.net.parameters())):
        raise ValueError(
            f"{owner}: weights of the network are split over processes, and {owner} runs a copy in this one. Load the "
            "weights into a network of one process: torch.distributed.checkpoint.state_dict.get_model_state_dict with "
            "StateDictOptions(full_state_dict=True) gathers them"
        )
    tensors = chain(given, model.net.parameters(), model.net.buffers())
    numbers = [RandomNumbers.now(device) for device in {HOST, *[each.device for each in tensors]}]
    shared: list[Guard] = []

    def run() -> T:
        nothing_to_undo = tuple
        found = work(model.alone(partial(_look_and_copy, owner, model, shared), nothing_to_undo))
        put_back()
        return found

    def put_back() -> None:
        for outside in shared:
            outside.put_back()
        for each in numbers:
            each.put_back()

    return run_or_undo(run, put_back)


def _look_and_copy(owner: str, model: Any, shared: list[Guard]) -> Any:
    """Return a copy of a network, and collect the objects that it shares with the network."""
    with InferenceMode(False):  # weights that are copied in inference mode could not be inspected outside of it
        shared += [_outside_of_hooks(model.net), NetworkSnapshot(model.net).outside]
        try:
            found: Any = copied(model)
        except Exception as error:
            raise TypeError(
                f"{owner}: the network cannot be copied ({type(error).__name__}: {error}), and {owner} runs a copy, "
                "so that yours stays as it is. Remove the attributes that copy.deepcopy cannot copy"
            ) from error
    found.warn_silent = False
    # a copy does not repeat the warnings of the network
    found._policy.warned = model._policy.warned
    return found


def _outside_of_hooks(net: nn.Module) -> Guard:
    """Return the objects that the hooks of a network can change and a copy shares."""
    outside = Guard()
    for module in net.modules():
        for hook in chain.from_iterable(getattr(module, name, {}).values() for name in HOOKS):
            if isinstance(hook, FunctionType):
                names, space = reads_of(hook.__code__).names, hook.__globals__
                outside.watch_function(hook)
                outside.watch_names(space, names)
                for value in chain(cells_of(hook), [space[name] for name in names if name in space]):
                    outside.watch_content(value)
    return outside
