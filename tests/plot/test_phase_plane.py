"""Phase planes: the trajectory is that of the layer, and arrows and nullclines are those of its equation."""

from functools import partial

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.quiver import Quiver

import spikingtorch as st
from spikingtorch import functional as F
from spikingtorch.plot import phase_plane
from spikingtorch.plot.inputs import Array
from tests.plot.drawn import labels, pixels


def run(layer: st.StepLayer, x: torch.Tensor) -> tuple[Array, list[bool]]:
    """Return the two states of a layer over time, the start included, and where it fired."""
    step, params = layer.whole_step()
    state = layer.initial_state(x[:1])
    states, fired = [[float(each) for each in state[:2]]], []
    for now in x.split(1):
        state, out = step(state, now, **params)
        states.append([float(each) for each in state[:2]])
        fired.append(bool(out != 0))
    return np.array(states), fired


def lines_of(contour: QuadContourSet) -> Array:
    """Return the points of a nullcline."""
    return np.concatenate([path.vertices for path in contour.get_paths()])


def nullclines(ax: Axes) -> list[Array]:
    return [lines_of(each) for each in ax.collections if isinstance(each, QuadContourSet) and not each.filled]


@pytest.mark.parametrize(
    ("layer", "current", "names"),
    [
        (st.Izhikevich(dt=0.25), 10.0, ("v", "w")),
        (st.AdEx(b=0.15), 0.9, ("v", "w")),
        (st.ALIF(adaptation=6.0), 0.4, ("v", "a")),
        (st.CubaLIF(), 0.1, ("v", "i")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_trajectory_is_that_of_the_layer(layer: st.StepLayer, current: float, names: tuple[str, str]) -> None:
    x = torch.full((200,), current)
    ax = phase_plane(layer, x)
    states, fired = run(layer, x)
    assert any(fired)
    path, jumps, start = ax.lines[:3]
    xy = np.asarray(path.get_xydata())
    np.testing.assert_allclose(xy[~np.isnan(xy[:, 0])], states, rtol=1e-6)
    assert int(np.isnan(xy[:, 0]).sum()) == sum(fired)
    breaks = np.flatnonzero(fired)
    jump = np.asarray(jumps.get_xydata()).reshape(-1, 3, 2)
    np.testing.assert_allclose(jump[:, 0], states[breaks], rtol=1e-6)
    np.testing.assert_allclose(jump[:, 1], states[breaks + 1], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(start.get_xydata()), states[:1])
    assert (ax.get_xlabel(), ax.get_ylabel()) == names
    assert labels(ax) == ["trajectory", "spike", f"{names[0]}-nullcline", f"{names[1]}-nullcline", "fires"]


def test_nullclines_solve_the_equation() -> None:
    """Those of Izhikevich's equations, with the recovery after the membrane; dw is taken at the new membrane."""
    layer = st.Izhikevich(a=0.02, b=0.2, dt=0.01)
    x = torch.tensor([0.0, 9.0, 4.0])  # the last input counts
    ax = phase_plane(layer, x, limits=((-85.0, -40.0), (-20.0, 5.0)))
    of_v, of_w = nullclines(ax)
    v, w = of_v.T
    np.testing.assert_allclose(w, 0.04 * v**2 + 5 * v + 140 + 4.0, atol=0.05)
    v, w = of_w.T
    np.testing.assert_allclose(w, 0.2 * v, atol=0.6)
    assert ax.get_xlim() == (-85.0, -40.0)
    assert ax.get_ylim() == (-20.0, 5.0)


def test_arrows_have_the_direction_of_a_step_and_one_length() -> None:
    layer = st.ResonateAndFire(omega=2.0, dt=0.05)
    ax = phase_plane(layer, torch.zeros(3), limits=((-2.0, 2.0), (-1.0, 1.0)))
    (arrows,) = [each for each in ax.collections if isinstance(each, Quiver)]
    step, params = layer.whole_step()
    x, y = (torch.as_tensor(each, dtype=torch.float32) for each in np.asarray(arrows.XY).T)
    after, out = step(F.ResonateAndFireState(x, y), torch.zeros_like(x), **params)
    # where a step fires there is no arrow, nor at rest: in the middle, where the processor's grid has a zero there
    hidden = np.asarray(arrows.Umask).ravel()
    np.testing.assert_array_equal(hidden, ((out != 0) | ((after.v == x) & (after.w == y))).numpy())
    drawn = ~hidden
    want = np.stack([(after.v - x).numpy() / 4.0, (after.w - y).numpy() / 2.0])[:, drawn]
    got = np.stack([np.ravel(arrows.U) / 4.0, np.ravel(arrows.V) / 2.0])[:, drawn]
    lengths = np.hypot(*got)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-6)
    np.testing.assert_allclose(got / lengths, want / np.hypot(*want), atol=1e-3)


def test_a_step_of_ones_own() -> None:
    step = partial(F.alif_step, decay=0.9, decay_adaptation=0.95, adaptation=1.0)
    ax = phase_plane(step, torch.full((30,), 0.3), start=F.ALIFState(0.5, 0.0))  # type: ignore[arg-type]
    assert np.asarray(ax.lines[0].get_xydata())[0].tolist() == [0.5, 0.0]
    assert (
        phase_plane(step, torch.zeros(1), start=F.ALIFState(*torch.zeros(2, 1)), states=("a", "v")).get_xlabel() == "a"
    )


def test_three_states_of_which_two_are_drawn() -> None:
    ax = phase_plane(st.AlphaLIF(), torch.full((20,), 0.1), states=("i", "v"))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("i", "v")


def test_nothing_moves_and_nothing_fires() -> None:
    ax = phase_plane(st.CubaLIF(), torch.zeros(1), limits=((-0.1, 0.1), (-0.1, 0.1)))
    assert labels(ax) == ["trajectory", "v-nullcline", "i-nullcline"]
    pixels(ax)


def test_dtypes_and_gradients() -> None:
    layer = st.Izhikevich(learnable=True)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        phase_plane(layer, torch.full((5,), 10.0, dtype=dtype, requires_grad=True))
    phase_plane(st.Izhikevich().double(), torch.full((5,), 10.0, dtype=torch.float64))
