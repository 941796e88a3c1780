"""A certificate: a file of ONNX beside its network, on the example and on other numbers of samples and steps.

A runtime adds the terms of a product in another order than torch. So a membrane may lie on the other side of its
threshold, and everything behind it then differs as well. The judge is the network in double precision: with e the
largest difference between its membranes and those of the network in single precision, rounding explains the first
difference of a sample if the membrane in double precision misses the threshold by at most ``SLACK`` e. The first one is
that of the first layer at the first step; what differs behind it, in depth or in time, may follow from it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from spikingtorch.axes import samples_first
from spikingtorch.functional.core.sharing import copied
from spikingtorch.interop.onnx.errors import ONNXError
from spikingtorch.interop.onnx.network import named
from spikingtorch.interop.onnx.stepping import SPIKES
from spikingtorch.interop.verdict import Certificate, Difference, Row
from spikingtorch.layers.streams import rest_of
from spikingtorch.spikingnet import SpikingNet
from spikingtorch.watching.fires import fires
from spikingtorch.watching.recording import record

Array = npt.NDArray[Any]
Session = Callable[[dict[str, Array]], dict[str, Array]]
# a runtime's rounding errors over those of torch
SLACK = 8.0


class Seen(NamedTuple):
    """What a network has given out: spikes, membranes and thresholds by layer, outputs and states by name."""

    layers: Mapping[str, Mapping[str, Array]]
    outs: dict[str, Array]


def session(content: bytes) -> tuple[str, Session]:
    """Return the runtime that is installed, and a function that runs a file in it on one thread."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        import onnx
        from onnx.reference import ReferenceEvaluator

        found: Any = ReferenceEvaluator(onnx.load_from_string(content))
        outputs = [*found.output_names]
        name = f"onnx's reference evaluator {onnx.__version__}"
    else:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        try:
            found = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            what = "A state of int32, int64, float32 or float64 has more operators than one of int8 or int16"
            raise ONNXError(f"onnxruntime does not run the file ({error}). {what}") from error
        outputs = [each.name for each in found.get_outputs()]
        name = f"onnxruntime {onnxruntime.__version__}"
    return name, lambda given: dict(zip(outputs, found.run(None, given), strict=True))


def certified(model: SpikingNet, x: Tensor, content: bytes, has_state: bool, how: str) -> Certificate:
    """Return the certificate of a file that also gives out the spikes of its layers, on x and on parts of it."""
    name, run = session(content)
    wide = copied(model).double()
    rows: dict[str, Row] = {}
    for part, cuts in _parts(x, model.batch_first, has_state):
        here, exact = _seen(model, part), _seen(wide, part.double())
        there = _ran(run, model, part, cuts, has_state)
        for row in _rows(model, here, exact, there):
            rows[row.name] = _joined(rows[row.name], row) if row.name in rows else row
    first = samples_first(x, model.batch_first)
    N, T = first.shape[:2]
    return Certificate(
        *(tuple(rows.values()), N, T, x.dtype, name, f"in {name}", f", and on parts of them{how}"),
        batch_first=model.batch_first,
    )


def _parts(x: Tensor, batch_first: bool, has_state: bool) -> Iterator[tuple[Tensor, list[int]]]:
    """Yield inputs, each with the steps at which a call ends and the next one goes on."""
    samples, steps = (0, 1) if batch_first else (1, 0)
    T = x.shape[steps]
    yield x, [T]
    yield x.narrow(samples, 0, 1), [T]
    yield x.narrow(steps, 0, 1), [1]
    if has_state and T > 1:
        yield x, [max(1, T // 3), T]


def _seen(model: SpikingNet, x: Tensor) -> Seen:
    """Return what a network gives out, arrays (N, T, ...)."""
    with torch.no_grad():
        try:
            recording = record(model, x.clone(), ("spikes", "u", "threshold"))
        except ValueError:  # no layer fires by functional.fire, or there is no layer
            recording = record(model, x.clone(), "spikes" if model._layers() else ())
        state = model.get_state()
    layers = {
        path: {name: _array(each, model.batch_first) for name, each in recording[path].items()} for path in recording
    }
    outs = {name: _array(out, model.batch_first) for name, out in named("out", recording.out).items()}
    return Seen(layers, outs | {f"next.{name}": each.numpy() for name, each in state.items()})


def _array(tensor: Tensor, batch_first: bool) -> Array:
    return samples_first(tensor, batch_first).detach().cpu().numpy()


def _ran(run: Session, model: SpikingNet, x: Tensor, cuts: list[int], has_state: bool) -> dict[str, Array]:
    """Return what a file gives out in one call or several, as arrays (N, T, ...)."""
    steps, begin, found = int(model.batch_first), 0, list[dict[str, Array]]()
    states = {f"state.{name}": each.numpy() for name, each in rest_of(model.net, x.shape[1 - steps]).items()}
    for end in cuts:
        given = x.narrow(steps, begin, end - begin).numpy()
        found.append(run({"x": given} | (states if has_state else {})))
        states = {name: found[-1][f"next.{name.removeprefix('state.')}"] for name in states if has_state}
        begin = end
    return {name: _whole([each[name] for each in found], name, steps) for name in found[-1]}


def _whole(parts: list[Array], name: str, steps: int) -> Array:
    """Return an output of all calls: the last state, or an array (N, T, ...); spikes of layers have time first."""
    if name.startswith("next."):
        return parts[-1]
    axis = 0 if name.startswith(SPIKES) else steps
    whole = np.concatenate(parts, axis)
    return whole if axis == 1 else whole.swapaxes(0, 1)


def _rows(model: SpikingNet, here: Seen, exact: Seen, there: dict[str, Array]) -> Iterator[Row]:
    """Yield the rows of layers in the order of calls, and one for outputs and states."""
    paths = [name.removeprefix(SPIKES) for name in there if name.startswith(SPIKES)]
    modules: dict[str, Any] = {path: model.net.get_submodule(path) for path in paths}
    firing = [path for path in paths if fires(modules[path])]
    first = _firsts([(here.layers[path]["spikes"], there[SPIKES + path]) for path in firing])
    # where double precision spikes otherwise, its membranes judge nothing any more
    known = _firsts([(here.layers[path]["spikes"], exact.layers[path]["spikes"]) for path in firing])
    equal, alike = [step is None for step, _ in first] if firing else slice(None), _spike_alike(here, exact)
    for path in paths:
        spikes, others, wide = here.layers[path]["spikes"], there[SPIKES + path], exact.layers[path]["spikes"]
        kind, neurons = type(modules[path]).__name__, int(np.prod(spikes.shape[2:]))
        if path not in firing:
            yield Row(path, kind, neurons, error=_error(spikes, wide, others, equal, alike))
            continue
        different, layer = _differ(spikes, others), firing.index(path)
        places = [(sample, step) for sample, (step, at) in enumerate(first) if step is not None and at == layer]
        found = _differences(here.layers[path], exact.layers[path], different, places, known, layer)
        earliest = min(found, key=lambda one: (one.miss <= one.rounding, one.step), default=None)
        yield Row(path, kind, neurons, int(np.abs(spikes).sum()), int(different.sum()), earliest)
    errors = [
        _error(here.outs[name], exact.outs[name], there[name], equal, alike) for name in here.outs if name in there
    ]
    sizes = [int(np.prod(each.shape[2:])) for name, each in here.outs.items() if name.startswith("out")]
    yield Row("output", "Output", sum(sizes), error=max(errors, default=0.0))


def _spike_alike(here: Seen, exact: Seen) -> Array:
    """Return the samples in which double precision has given out the same numbers but for rounding, in all layers."""
    pairs = [(each["spikes"], exact.layers[path]["spikes"]) for path, each in here.layers.items()]
    pairs += [(each, exact.outs[name]) for name, each in here.outs.items()]
    same = [np.isclose(*pair, rtol=1e-2, atol=1e-2, equal_nan=True) for pair in pairs]
    return np.asarray(np.stack([each.reshape(len(each), -1).all(-1) for each in same]).all(0))


def _differ(a: Array, b: Array) -> Array:
    different: Array = (a != b) & ~(np.isnan(a) & np.isnan(b))
    return different


def _firsts(pairs: list[tuple[Array, Array]]) -> list[tuple[int | None, int]]:
    """Return for each sample the first step at which spikes differ, None for none, and the first layer that does so."""
    if not pairs:
        return []
    off = np.stack([_differ(*pair).reshape(*pair[0].shape[:2], -1).any(-1) for pair in pairs], -1)  # (N, T, layers)
    found = [(int(each.any(-1).argmax()), each) if each.any() else (None, each) for each in off]
    return [(step, 0 if step is None else int(each[step].argmax())) for step, each in found]


def _differences(
    here: Mapping[str, Array],
    exact: Mapping[str, Array],
    different: Array,
    places: list[tuple[int, int]],
    known: list[tuple[int | None, int]],
    layer: int,
) -> Iterator[Difference]:
    """Yield the differences of a layer at samples and steps where it is the first one that differs."""
    noise = 0.0
    if places and "u" in here:
        steps = np.arange(different.shape[1])
        trusted = np.array([steps < (len(steps) if step is None else step) for step, _ in known])
        noise = float(np.nanmax(np.abs(here["u"] - exact["u"])[trusted], initial=0.0))
    for sample, step in places:
        last, at = known[sample]
        judged = "u" in here and (last is None or (step, layer) <= (last, at))
        for neuron in zip(*np.nonzero(different[sample, step]), strict=True):
            place, miss = (sample, step, *neuron), 0.0
            if judged:
                threshold = np.broadcast_to(exact["threshold"], exact["u"].shape)[place]
                miss = float(abs(exact["u"][place] - threshold))
            # exactly at the threshold, rounding explains nothing
            miss = miss if miss > 0.0 else np.inf
            at_neuron = tuple(int(each) for each in neuron)
            yield Difference(sample, step, at_neuron, bool(here["spikes"][place]), miss, SLACK * noise)


def _error(here: Array, exact: Array, there: Array, equal: Any, alike: Array) -> float:
    """Return the largest difference of samples with equal spikes, divided by the bound of rounding errors.

    Rounding errors are those of single precision in samples that double precision computes alike.
    """
    if here.shape != there.shape:
        return float("inf")
    a, b, wide = (np.asarray(each, np.float64) for each in (here, there, exact))
    off = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))[equal]
    if not off.any():
        return 0.0
    size = np.abs(wide[np.isfinite(wide)]).max(initial=0.0)
    moved = np.where(a == wide, 0.0, np.abs(a - wide))[alike]
    noise = np.nanmax(moved, initial=0.0) + np.finfo(np.float32).eps * size
    return float(np.nan_to_num(off.max() / (SLACK * noise), nan=np.inf)) if noise > 0.0 else float("inf")


def _joined(a: Row, b: Row) -> Row:
    """Return the row of two comparisons of one layer."""
    if a.error is not None:
        return a._replace(error=max(a.error, b.error or 0.0))
    firsts = [each.first for each in (a, b) if each.first is not None]
    worst = min(firsts, key=lambda one: (one.miss <= one.rounding, one.step), default=None)
    return a._replace(spikes=a.spikes + b.spikes, different=a.different + b.different, first=worst)
