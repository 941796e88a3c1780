"""Record what happens inside a network over time."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import Module

from spikingtorch.axes import samples_first, sizes
from spikingtorch.layers.recorder import SPIKES, Budget, Recorder
from spikingtorch.layers.split import let_gather
from spikingtorch.layers.steplayer import StepLayer
from spikingtorch.layers.time_norm import TimeNorm
from spikingtorch.watching.network import Network, check_network

# bytes that may be used without asking
LIMIT = 2 * 2**30


class Records(dict[str, Tensor]):
    """The records of one layer, by name.

    Attributes:
        batch_first: False if they are (T, N, *neurons).
    """

    def __init__(self, records: Mapping[str, Tensor], batch_first: bool) -> None:
        super().__init__(records)
        self.batch_first = batch_first


class Recording(Mapping[str, Mapping[str, Tensor]]):
    """The result of ``record``: for each layer by name, its records by name, (N, T, *neurons).

    Attributes:
        out: the output of the model.
        batch_first: False if records are (T, N, *neurons), like the inputs and outputs of the model.
    """

    def __init__(self, layers: Mapping[str, Mapping[str, Tensor]], out: Any, batch_first: bool = True) -> None:
        self._layers = {layer: Records(records, batch_first) for layer, records in layers.items()}
        self.out = out
        self.batch_first = batch_first

    def __getitem__(self, name: str) -> Mapping[str, Tensor]:
        if name not in self._layers:
            raise KeyError(f"no layer {name!r} was recorded; there are {', '.join(map(repr, self._layers)) or 'none'}")
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        rows = [
            f"  {layer}: " + ", ".join(f"{name} {tuple(each.shape)}" for name, each in records.items())
            for layer, records in self._layers.items()
        ]
        return "\n".join(["Recording", *rows])


def record(
    model: Network,
    x: Tensor,
    what: str | Sequence[str] = SPIKES,
    *,
    layers: Sequence[str] | None = None,
    neurons: Any = (),
    steps: slice | None = None,
    limit: int = LIMIT,
    **options: Any,
) -> Recording:
    """Run a network and record what happens in its spiking layers.

    It is a call like ``model(x)``: it leaves a state behind and, in training, updates running statistics. The records
    are further outputs of the compiled time loop. So the network runs as without records, folded if it folds, and its
    outputs have the same bits, recurrent layers included. Gradients flow through records if they are enabled, so a loss
    may depend on a membrane.

    Args:
        model: the network.
        x: input of the network.
        what: one name or several. "spikes" are the outputs of a layer, "u" is the membrane before the reset, and
            "threshold" the threshold. Each field of the state, such as "v", is that after the step. While a neuron
            rests, "u" is its v.
        layers: names of layers in the network, which must have all wanted records. By default all spiking layers, with
            the records that they have.
        neurons: index of the neurons to keep. ``slice(100)`` is for the first axis of a layer's neurons, a tuple for
            several axes. A dict has such an index for each layer.
        steps: the steps to keep, for instance ``slice(100, 200)``.
        limit: bytes that records may take.
        **options: further arguments of the call, ``init`` and ``lengths``.

    Returns:
        The records by layer and name, and the output of the model as ``.out``. They are (N, T, *neurons), or
        (T, N, *neurons) of a model with ``batch_first=False``. After the end of a padded sample they are zero.

    Raises:
        TypeError: model is not a SpikingNet, or steps is not a slice.
        ValueError: a layer or record does not exist, ``neurons`` names a layer that is not recorded, or steps count
            from the end.
        MemoryError: the records would take more than the limit.

    >>> import torch
    >>> from spikingtorch import LIF, SpikingNet
    >>> model = SpikingNet(torch.nn.Sequential(torch.nn.Linear(3, 4), LIF()))
    >>> recording = record(model, torch.rand(2, 5, 3), ("spikes", "v"))
    >>> recording
    Recording
      1: spikes (2, 5, 4), v (2, 5, 4)
    >>> torch.equal(recording["1"]["spikes"], recording.out)
    True
    """
    check_network("record", model)
    names = (what,) if isinstance(what, str) else tuple(what)
    kept, chosen, budget = _kept_steps(steps), _chosen(model, layers), Budget(limit)
    _check_neurons(neurons, chosen)
    recorders = {
        path: Recorder(path, names, layers is not None, budget, _index(neurons, path), kept) for path in chosen
    }

    def attach(recorders: Mapping[str, Recorder]) -> None:
        for path, layer in chosen.items():
            layer._cell.recorder = recorders.get(path)

    def run() -> Any:
        attach(recorders)
        out = model(x, **options)
        attach({})
        return out

    out = model.alone(run, partial(attach, {}))
    # the network runs as many steps as the longest sample
    T = sizes(x, model.batch_first)[1] if options.get("lengths") is not None else 0
    found = {path: records for path, recorder in recorders.items() if (records := recorder.records(T))}
    for path, records in found.items():
        let_gather(_around(model, path), list(records.values()))
    if not model.batch_first:
        found = {
            path: {name: samples_first(each, batch_first=False) for name, each in records.items()}
            for path, records in found.items()
        }
    if names and chosen and not any(recorder.steps for recorder in recorders.values()):
        raise ValueError(f"record: the network called none of the layers {', '.join(map(repr, chosen))}")
    for name in names:
        if not any(name in records for records in found.values()):
            raise ValueError(
                f"record: no layer has {name!r}. There are 'spikes', fields of a layer's state such as 'v', and 'u' "
                "and 'threshold' of neurons that fire through functional.fire"
            )
    return Recording(found, out, model.batch_first)


def _chosen(model: Network, layers: Sequence[str] | None) -> dict[str, StepLayer]:
    """Return the layers to record, by name; raise ValueError if a name has no spiking layer."""
    there = {
        path: module
        for path, module in model.net.named_modules()
        if isinstance(module, StepLayer) and not isinstance(module, TimeNorm)
    }
    if layers is None:
        return there
    wrong = [path for path in layers if path not in there]
    if wrong or isinstance(layers, str):
        names = ", ".join(map(repr, there)) or "none"
        raise ValueError(f"record: layers={layers!r}, but the spiking layers are {names}; pass a list of names")
    return {path: there[path] for path in layers}


def _around(model: Any, path: str) -> list[Module]:
    """Return the modules that a layer of the network is in, the model and the layer included."""
    names = path.split(".")
    return [model, *(model.net.get_submodule(".".join(names[:depth])) for depth in range(len(names) + 1))]


def _check_neurons(neurons: Any, chosen: Mapping[str, StepLayer]) -> None:
    """Raise ValueError if ``neurons`` names a layer that is not recorded."""
    wrong = [path for path in neurons if path not in chosen] if isinstance(neurons, Mapping) else []
    if wrong:
        names = ", ".join(map(repr, chosen)) or "none"
        raise ValueError(
            f"record: neurons= names {', '.join(map(repr, wrong))}, but the layers that are recorded are {names}"
        )


def _index(neurons: Any, path: str) -> tuple[Any, ...]:
    """Return the index of a layer's neurons to keep."""
    found = neurons.get(path, ()) if isinstance(neurons, Mapping) else neurons
    return found if isinstance(found, tuple) else (found,)


def _kept_steps(steps: slice | None) -> slice:
    if steps is None:
        return slice(None)
    if not isinstance(steps, slice):
        raise TypeError(f"record: steps={steps!r}, expected a slice, slice(100, 200) for instance")
    numbers = [number for number in (steps.start, steps.stop, steps.step) if number is not None]
    if any(number < 0 for number in numbers) or steps.step == 0:
        raise ValueError(f"record: steps={steps!r} counts from the end, or backwards; count from the first step")
    return steps
