"""What papers assume: an input that is normalised, and parameters that are kept positive by their absolute value."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.interop import nir
from spikingtorch.testing import assert_close
from tests.folded_layer import draw

N, T, M = 3, 12, 4
TAU, SYN = torch.tensor([2.0, 3.0, 5.0, 9.0], dtype=torch.float64), 3.0


def kept(tau: Any) -> Any:
    return torch.exp(-1.0 / torch.as_tensor(tau, dtype=torch.float64))


def leaky(tau: Any) -> dict[str, Any]:
    return {"decay": kept(tau), "gain": 1.0 - kept(tau)}


SLOW = {"decay_adaptation": kept(20.0), "adaptation": 1.8}
CURRENT = {"decay_syn": kept(SYN)}
RISING = {"decay_rise": kept(2.0), "gain_rise": 1.0 - kept(2.0)} | CURRENT
# layer, its step and state, and the arguments of the step besides those of tau
NORMALISED: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "LIF": (st.LIF, F.lif_step, F.LIFState, {}),
    "LIF in milliseconds": (lambda tau, **more: st.LIF(2.5 * tau, dt=2.5, **more), F.lif_step, F.LIFState, {}),
    "LI": (st.LI, F.li_step, F.LIState, {}),
    "ALIF": (lambda tau, **more: st.ALIF(tau, tau_adaptation=20.0, **more), F.alif_step, F.ALIFState, SLOW),
    "CubaLIF": (lambda tau, **more: st.CubaLIF(SYN, tau, **more), F.cuba_lif_step, F.CubaLIFState, CURRENT),
    "AlphaLIF": (lambda tau, **more: st.AlphaLIF(2.0, SYN, tau, **more), F.alpha_lif_step, F.AlphaLIFState, RISING),
}


def results(out: Tensor, *leaves: Tensor) -> list[Tensor]:
    return [out.detach(), *torch.autograd.grad(out, leaves, torch.randn(out.shape, generator=draws()).double())]


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("kind", NORMALISED)
def test_a_normalised_input_is_weighted_by_what_the_membrane_loses(kind: str, mode: Any) -> None:
    make, step, state, more = NORMALISED[kind]
    layer, x = make(TAU, learnable="tau", norm_input=True), (3.0 * draw(0, N, T, M)).requires_grad_()
    tau = (2.5 * TAU if "milli" in kind else TAU).clone().requires_grad_()
    rest = F.zeros_state(state, x[:, 0])
    params = leaky(tau / 2.5 if "milli" in kind else tau) | more
    _, want = F.scan(step, rest, x, params=params, dim=1, backend="loop")
    found = st.SpikingNet(layer, (M,), mode=mode)(x)
    assert_close(results(found, x, layer.tau), results(want, x, tau))
    if kind != "LI":
        assert want.any()


def test_a_constant_input_is_where_a_normalised_membrane_ends() -> None:
    x, layer = torch.full((1, 50, 1), 0.7, dtype=torch.float64), st.LI(decay=0.8, norm_input=True)
    assert_close(st.SpikingNet(layer)(x).flatten(), 0.7 * (1.0 - 0.8 ** torch.arange(1, 51, dtype=torch.float64)))


def test_a_recurrent_layer_normalises_both_inputs() -> None:
    loop, x = nn.Linear(M, M, bias=False).double(), 3.0 * draw(1, N, T, M)
    a, r = kept(8.0), kept(80.0)
    v, trace, s = (torch.zeros(N, M, dtype=torch.float64) for _ in range(3))
    out = []
    for x_t in x.unbind(1):
        theta = 1.0 + 1.8 * trace
        u = a * v + (1.0 - a) * (x_t + loop(s))
        s = (u >= theta).double()
        v, trace = u - s * theta, r * trace + (1.0 - r) * s
        out.append(s)
    assert torch.equal(st.SpikingNet(st.ALIF(norm_input=True, recurrent=loop), (M,))(x), torch.stack(out, 1))
    assert torch.stack(out).any()


def test_whether_the_input_is_normalised_is_saved_and_stays() -> None:
    layer = st.LIF(norm_input=True)
    with pytest.raises(RuntimeError, match=r"the checkpoint has .*norm_input"):
        st.LIF().load_state_dict(layer.state_dict())
    st.LIF(norm_input=True).load_state_dict(layer.state_dict())
    with pytest.raises(ValueError, match=r"made without norm_input; give it .* LIF\(..., norm_input=True\)"):
        st.LIF().norm_input = True
    with pytest.raises(ValueError, match="norm_input cannot change"):
        layer.norm_input = False
    with pytest.raises(TypeError, match="norm_input=1, expected True or False"):
        st.LI(norm_input=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="CoarseLIF: there is no argument 'norm_input'"):
        st.CoarseLIF(8.0, norm_input=True)  # type: ignore[call-arg]


# --- the absolute value -----------------------------------------------------------------------------------------------

MIRRORED: dict[str, tuple[Any, str, float]] = {
    "LIF tau": (lambda tau, **more: st.LIF(tau, threshold=0.3, **more), "tau", 1.0),
    "LIF threshold": (lambda threshold, **more: st.LIF(threshold=threshold, **more), "v0", 1.0),
    "ResonateAndFire damping": (
        lambda damping, **more: st.ResonateAndFire(2.0, damping, 0.1, 0.1, **more),
        "damping",
        -1.0,
    ),
    "BalancedResonateAndFire offset": (
        lambda offset, **more: st.BalancedResonateAndFire(2.0, offset, 0.1, dt=0.1, **more),
        "offset",
        1.0,
    ),
}


@pytest.mark.parametrize("mode", ["auto", "step"])
@pytest.mark.parametrize("kind", MIRRORED)
def test_a_mirrored_parameter_is_its_absolute_value(kind: str, mode: Any) -> None:
    make, name, sign = MIRRORED[kind]
    given = sign * torch.tensor([0.5, 2.0, 0.7, 3.0], dtype=torch.float64)
    q, x = given.clone().requires_grad_(), 3.0 * draw(2, N, T, M)
    layer, plain = make(given, learnable=name, constrain="mirror"), make(given, learnable=name, constrain=False)
    model, free = st.SpikingNet(layer, (M,), mode=mode), st.SpikingNet(plain, (M,))
    own = layer.get_parameter(name)
    for step in range(4):  # the second step moves two of them across zero
        weights = torch.randn(N, T, M, generator=draws()).double()
        (gradient,) = torch.autograd.grad((model(x) * weights).sum(), own)
        with torch.no_grad():
            plain.get_parameter(name).copy_(sign * q.abs())
        (outer,) = torch.autograd.grad((free(x) * weights).sum(), plain.get_parameter(name))
        (want,) = torch.autograd.grad(sign * q.abs(), q, outer)
        assert_close(gradient, want)
        assert torch.equal(own, q)
        with torch.no_grad():
            q += torch.tensor([0.1, -4.0, 0.2, -5.0], dtype=torch.float64) * sign if step == 0 else -0.05 * want
            own.copy_(q)
    assert (sign * q < 0.0).any()
    layer.load_state_dict(layer.state_dict())
    assert torch.equal(own, q)  # nothing is put back


def test_a_mirror_has_two_sides() -> None:
    layer: Any = st.LI(decay=torch.tensor([0.5, -0.25, 1.25, 9.0]), learnable=True, constrain="mirror")
    assert layer.step_params()["decay"].tolist() == [0.5, 0.25, 0.75, 0.0]
    assert "constrain='mirror'" in repr(layer)
    with pytest.raises(ValueError, match="constrain='abs', expected True, False or 'mirror'"):
        st.LI(constrain="abs")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"damping=0\.5, expected a finite value at most 0"):
        st.ResonateAndFire(damping=0.5)


def test_both_travel_by_nir() -> None:
    tau = torch.tensor([-3.0, 4.0, 5.0])
    model = st.SpikingNet(nn.Sequential(st.LIF(tau, learnable="tau", constrain="mirror", norm_input=True)), (3,))
    x = 4.0 * draw(3, N, T, 3).float()
    graph = nir.to_nir(model, x, dt=1.0)
    (node,) = [each for each in graph.nodes.values() if type(each).__name__ == "LIF"]
    assert_close(torch.as_tensor(node.r).float(), torch.ones(3))
    back = nir.from_nir(graph)
    assert str(back.net).count("constrain='mirror'") == str(back.net).count("norm_input='1 - decay'") == 1
    assert torch.equal(back(x), model(x))
