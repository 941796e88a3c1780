"""Files that are written for the reader of one library, in that reader: spike by spike what our network gives out.

And the models of these readers, by which certificates are made without them, give out what they do, of any file.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

import spikingtorch as st
from spikingtorch.interop.nir import from_nir, readers, to_nir, verify_nir
from spikingtorch.interop.nir.reference import simulate
from spikingtorch.interop.nir.targets import TARGETS
from tests.interop.nir.graphs import affine, chain, lif
from tests.interop.nir.peers.reading import read_by
from tests.interop.nir.targets import READ, made

Array = np.ndarray[Any, Any]


def modelled(target: str, graph: Any, x: Any, dt: float) -> Array:
    """Return what the model of a reader makes of a graph, (T, N, ...)."""
    readers.check(TARGETS[target], graph)
    build = partial(readers.build, TARGETS[target])
    (out,) = simulate(graph, x.double().numpy().swapaxes(0, 1), dt=dt, build=build).out.values()
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("target", "name"), READ)
def test_the_reader_spikes_as_the_network_does(target: str, name: str, dtype: torch.dtype) -> None:
    model, x = made(name, N=4, T=200, dtype=dtype)
    graph, dt = to_nir(model, x, target=target), TARGETS[target].dt
    certificate = verify_nir(graph, x)
    with torch.no_grad():
        want = model(x).swapaxes(0, 1).float().numpy()
    got = read_by(target, graph, x.float(), dt)
    assert certificate.equal
    assert (want != 0).any()
    if name == "counts: readout":
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(modelled(target, graph, x.float(), dt), got)


def test_a_network_of_the_size_of_a_real_one() -> None:
    """Tens of thousands of spikes in each of which a reader could differ."""
    torch.manual_seed(0)
    first, second = nn.Linear(40, 100), nn.Linear(100, 50)
    with torch.no_grad():
        first.weight.mul_(5.0)
        second.weight.mul_(5.0)
    neurons = st.LIF(tau=8.0), st.LIF(tau=5.0, threshold=0.7)
    model = st.SpikingNet(nn.Sequential(first, neurons[0], second, neurons[1])).eval()
    x = (torch.rand(16, 200, 40) < 0.3).float()
    with torch.no_grad():
        want = model(x).swapaxes(0, 1).numpy()
    assert want.sum() > 20_000
    for target in ("snntorch", "norse", "spikingjelly"):
        graph = to_nir(model, x, target=target)
        assert verify_nir(graph, x).equal
        np.testing.assert_array_equal(read_by(target, graph, x, TARGETS[target].dt), want)
        # what is written for no library is read differently, and the certificate for this reader says so
        plain = to_nir(model, x)
        assert (read_by(target, plain, x, 1e-4) != want).sum() > 1000
        assert not verify_nir(plain, x, target=target).equal


def _numbers(seed: int, low: float, high: float, n: int = 3) -> Array:
    return np.random.default_rng(seed).uniform(low, high, n)


def _cuba(**changes: Any) -> nir.CubaLIF:
    taus: dict[str, Any] = {"tau_syn": np.full(3, 4e-4), "tau_mem": np.full(3, 9e-4)}
    leak = {"r": np.full(3, 9.0), "v_leak": np.zeros(3), "w_in": np.full(3, 4.0)}
    return nir.CubaLIF(**(taus | leak | {"v_threshold": np.full(3, 0.8), "v_reset": np.zeros(3)} | changes))


def _if(r: float, threshold: float = 0.9) -> nir.IF:
    return nir.IF(r=np.full(3, r), v_threshold=np.full(3, threshold), v_reset=np.zeros(3))


# neurons that no export of ours writes so, and that readers read in a way of their own
OTHERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "snnTorch, a gain for all": ("snntorch", lambda: lif(r=np.full(3, 3.0))),
    "snnTorch, the least gain of several": ("snntorch", lambda: lif(r=np.array([5.0, 3.0, 4.0]))),
    "snnTorch, v_reset": ("snntorch", lambda: lif(r=np.full(3, 10.0), v_reset=np.full(3, 0.2))),
    "snnTorch, taus": ("snntorch", lambda: lif(tau=_numbers(0, 2e-4, 2e-3), r=np.full(3, 4.0))),
    "snnTorch, current": ("snntorch", lambda: _cuba(w_in=np.full(3, 2.0))),
    "Norse, r": ("norse", lambda: lif(r=_numbers(1, 1.0, 5.0), v_threshold=_numbers(2, 0.05, 0.2))),
    "Norse, v_leak": ("norse", lambda: lif(v_leak=_numbers(3, 0.0, 0.1), v_threshold=np.full(3, 0.15))),
    "Norse, IF": ("norse", lambda: _if(3.0)),
    "Norse, current": ("norse", lambda: _cuba(r=_numbers(4, 5.0, 9.0), w_in=_numbers(5, 2.0, 9.0))),
    "Norse, current and v_leak": ("norse", lambda: _cuba(v_leak=np.full(3, 0.02))),
    "Sinabs, LIF in double precision": ("sinabs", lambda: lif(tau=5.0, v_threshold=_numbers(6, 0.3, 0.9))),
    "Sinabs, IF with a floor": ("sinabs", lambda: _if(3.0)),
    "SpikingJelly, v_reset": (
        "spikingjelly",
        lambda: lif(v_reset=np.full(3, -0.2), v_leak=np.full(3, -0.2), v_threshold=np.full(3, 0.2)),
    ),
    "SpikingJelly, r = tau / dt": ("spikingjelly", lambda: lif(r=np.full(3, 10.0), v_threshold=np.full(3, 1.1))),
    "SpikingJelly, current": ("spikingjelly", lambda: _cuba(v_reset=np.full(3, -0.1))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_model_of_a_reader_does_with_any_file_as_it_does(name: str) -> None:
    target, make = OTHERS[name]
    node = make()
    weights = affine(3, 3)
    graph = chain(weights, node)
    x = torch.randn(4, 300, 3, generator=torch.Generator().manual_seed(0))
    dt = TARGETS[target].dt if target in ("snntorch", "sinabs") else 1e-4
    want = modelled(target, graph, x, dt)
    assert 0.02 < (want != 0).mean() < 0.9
    np.testing.assert_array_equal(read_by(target, graph, x, dt), want)


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_model_refuses_the_reader_does_not_run_as_nir_says(target: str) -> None:
    """A readout with a gain: it raises, or gives out something that is not its membrane."""
    graph = chain(affine(3, 3), nir.LI(tau=np.full(3, 5.0), r=np.full(3, 2.0), v_leak=np.zeros(3)))
    x = torch.rand(2, 20, 3)
    with pytest.raises(ValueError, match="not computed by the reader"):
        modelled(target, graph, x, 1.0)
    with torch.no_grad():
        right = from_nir(graph, 1.0, dtype=torch.float32)(x).swapaxes(0, 1).numpy()
    try:
        out = read_by(target, graph, x, TARGETS[target].dt)
    except Exception:  # of any kind, as each reader has its own
        return
    assert not np.allclose(out, right, rtol=1e-2)


@pytest.mark.parametrize(("target", "reads"), [("norse", 0), ("snntorch", 1)])
def test_a_file_is_loaded_as_the_page_says(
    target: str, reads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "export.md").read_text()
    *loads, loop = re.findall(r"^```python\n((?!>>>).*?)^```$", page, re.MULTILINE | re.DOTALL)
    model, x = made("lif", N=4, T=200, dtype=torch.float32)
    monkeypatch.chdir(tmp_path)
    nir.write("network.nir", to_nir(model, x, target=target))
    found: dict[str, Any] = {"torch": torch, "x": x}
    exec(loads[reads] + loop, found)
    with torch.no_grad():
        want = model(x)
    assert want.count_nonzero() > 100
    assert torch.equal(found["spikes"], want)
