"""Fixtures that Norse writes: `python -m tests.interop.nir.peers.write_norse` where Norse is installed.

Written with norse 1.1.0, nir 1.0.8, nirtorch 2.6 and torch 2.13.0.
"""

from collections.abc import Callable
from typing import Any

import norse.torch as norse
import torch
from norse.torch.functional.iaf import IAFParameters
from norse.torch.functional.reset import reset_subtract
from torch import Tensor, nn

from tests.interop.nir.peers import fixture
from tests.interop.nir.peers.writing import drawn, each, heard, tied

NEURONS = (norse.LIFBoxCell, norse.LIFCell, norse.IAFCell, norse.LIBoxCell)


def box(*shape: int, v_leak: float = 0.0, v_reset: float = 0.0, **options: Any) -> Any:
    """Return LIF neurons without a current."""
    p = norse.LIFBoxParameters(
        tau_mem_inv=each(100.0, *shape),
        v_leak=each(v_leak, *shape),
        v_th=each(1.0, *shape),
        v_reset=each(v_reset, *shape),
        **options,
    )
    return norse.LIFBoxCell(p)


def lif(n: int, v_leak: float = 0.0, v_reset: float = 0.0) -> Any:
    """Return LIF neurons with a current."""
    p = norse.LIFParameters(
        tau_syn_inv=each(200.0, n),
        tau_mem_inv=each(100.0, n),
        v_leak=each(v_leak, n),
        v_th=each(1.0, n),
        v_reset=each(v_reset, n),
    )
    return norse.LIFCell(p)


def iaf(n: int, v_reset: float = 0.0) -> Any:
    return norse.IAFCell(IAFParameters(v_th=each(1.0, n), v_reset=each(v_reset, n)))


def li(n: int, v_leak: float) -> Any:
    return norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=each(80.0, n), v_leak=each(v_leak, n)))


def mlp(*neurons: Any) -> Any:
    """Return a network of 5 inputs, with layers of 6 and 4 neurons, or of 6 alone."""
    layers = [drawn(nn.Linear(5, 6), seed=1), neurons[0]]
    if len(neurons) == 2:
        layers += [drawn(nn.Linear(6, 4), seed=2), neurons[1]]
    return norse.SequentialState(*layers)


def neurons_of(net: Any) -> dict[str, Any]:
    return {name: module for name, module in net.named_children() if isinstance(module, NEURONS)}


def run(net: Any, xs: Tensor) -> dict[str, Tensor]:
    """Return the outputs of all neurons for inputs (T, N, ...), step by step from the initial states."""
    with heard(neurons_of(net)) as found:
        state = None
        for x in xs:
            _, state = net(x, state)
    return {name: torch.stack([out for out, _ in outs]) for name, outs in found.items()}


def write(
    case: str, net: Any, x: fixture.Array, balanced: bool = True, export_dt: float = 1e-3, **options: Any
) -> None:
    """Export a network and write it beside what it does to x."""
    xs, analog = (
        torch.from_numpy(x),
        [name for name, each in neurons_of(net).items() if isinstance(each, norse.LIBoxCell)],
    )
    if balanced:
        weights = [module.weight for module in net if hasattr(module, "weight")][: len(neurons_of(net)) - len(analog)]
        fixture.balance(weights, lambda: [float(each.mean()) for each in run(net, xs).values()])
    graph = norse.to_nir(net, xs[0, 0], dt=export_dt)
    if xs.ndim > 3:
        graph.infer_types()  # the exporter leaves the input_shape of Conv2d None, which nir does not write
    outs = {name: each.numpy() for name, each in run(net, xs).items()}
    fixture.save(
        f"norse_{case}",
        graph,
        x,
        list(outs.values())[-1],
        outs,
        dt=1e-3,
        options={"export_dt": export_dt, **options},
        packages=["norse"],
        analog=analog,
    )


def refused() -> dict[str, Callable[[], Any]]:
    """Return exports that fail, or lose a layer."""

    def export(net: Any, *shape: int) -> Callable[[], Any]:
        return lambda: norse.to_nir(net, torch.ones(shape))

    image = (1, 1, 6, 6)
    return {
        "LIFBoxCell with one parameter for all neurons": export(mlp(norse.LIFBoxCell()), 5),
        "LIFRecurrentCell": export(norse.SequentialState(norse.LIFRecurrentCell(5, 6)), 5),
        "LIFCell over time, LIF": export(norse.SequentialState(nn.Linear(5, 6), norse.LIF()), 3, 5),
        "LICell": export(norse.SequentialState(nn.Linear(5, 6), norse.LICell()), 5),
        "Conv2d without a bias": export(norse.SequentialState(nn.Conv2d(1, 2, 3, bias=False), box(2, 4, 4)), *image),
        "Flatten": export(norse.SequentialState(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 3), box(3)), *image),
        "AvgPool2d": export(norse.SequentialState(nn.Conv2d(1, 2, 3), nn.AvgPool2d(2), box(2, 2, 2)), *image),
    }


def main() -> None:
    x, image = fixture.spikes_in(0, (5,)), fixture.spikes_in(1, (1, 6, 6))
    write("mlp_box", mlp(box(6), box(4)), x)
    write("box_leak_reset", mlp(box(6, v_leak=0.3, v_reset=-0.4)), x, v_reset=-0.4)
    write("box_subtract", mlp(box(6, reset_method=reset_subtract)), x, reset="subtract")
    write("box_export_dt_1", mlp(box(6)), x, export_dt=1.0)
    write("lif", mlp(lif(6), lif(4)), x)
    write("lif_leak_reset", mlp(lif(6, v_leak=0.3, v_reset=-0.4)), x, v_reset=-0.4)
    write("mlp_iaf", mlp(iaf(6), iaf(4)), x)
    write("iaf_reset", mlp(iaf(6, v_reset=0.3)), x, v_reset=0.3)
    write("iaf_ties", tied(mlp(iaf(6)), 1 / 8, 1 / 8), x, balanced=False)
    write("box_li", mlp(box(6), li(4, v_leak=0.2)), x)
    write("conv_box", norse.SequentialState(drawn(nn.Conv2d(1, 2, 3), seed=3), box(2, 4, 4)), image)
    fixture.tell_refusals("Norse", refused())


if __name__ == "__main__":
    main()
