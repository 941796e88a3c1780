"""Plasticity against Brian2, which runs the equations of its own documentation; skipped where it is not installed."""

from typing import Any

import numpy as np
import pytest
import torch

from spikingtorch.functional import plasticity
from spikingtorch.functional.plasticity import nearest

I, O, T = 3, 4, 300  # noqa: E741
PAIR: dict[str, Any] = {"decay_pre": 0.9, "decay_post": 0.8, "rate_plus": 0.03, "rate_minus": 0.02}
SLOW: dict[str, Any] = {"decay_pre_slow": 0.95, "decay_post_slow": 0.97, "triplet_plus": 0.05, "triplet_minus": 0.01}
# a trace for each side; the pair rule has no slow ones
TRACES = "\n".join(f"d{trace}/dt = -{trace} / tau_{trace} : 1 (event-driven)" for trace in ("r1", "r2", "o1", "o2"))


def brian2_weights(
    pre: Any, post: Any, weight: Any, params: dict[str, Any], nearest: bool, low: float, high: float
) -> Any:
    """Return the weights after spikes (T, I) and (T, O), a step of 1 ms each."""
    brian2 = pytest.importorskip("brian2")
    brian2.prefs.codegen.target = "numpy"
    brian2.start_scope()
    brian2.defaultclock.dt = brian2.ms
    sources = [
        brian2.SpikeGeneratorGroup(x.shape[1], np.nonzero(x)[1], np.nonzero(x)[0] * brian2.ms) for x in (pre, post)
    ]
    of = {"r1": "decay_pre", "r2": "decay_pre_slow", "o1": "decay_post", "o2": "decay_post_slow"}
    given: dict[str, Any] = {f"tau_{short}": -brian2.ms / np.log(params.get(name, 0.5)) for short, name in of.items()}
    of = {"A2p": "rate_plus", "A2m": "rate_minus", "A3p": "triplet_plus", "A3m": "triplet_minus"}
    given |= {short: params.get(name, 0.0) for short, name in of.items()} | {"low": low, "high": high}
    hit = "{0} = 1" if nearest else "{0} += 1"
    synapses = brian2.Synapses(
        *sources,
        f"w : 1\n{TRACES}",
        on_pre="\n".join(["w = clip(w - o1 * (A2m + A3m * r2), low, high)", hit.format("r1"), hit.format("r2")]),
        on_post="\n".join(["w = clip(w + r1 * (A2p + A3p * o2), low, high)", hit.format("o1"), hit.format("o2")]),
        namespace=given,
    )
    synapses.connect()
    synapses.w = weight.T.ravel()
    brian2.Network(*sources, synapses).run(T * brian2.ms, namespace={})
    return np.array(synapses.w).reshape(I, O).T


@pytest.mark.parametrize(("low", "high"), [(-1e9, 1e9), (0.3, 0.6)])
@pytest.mark.parametrize("pairing", [plasticity.all_to_all, plasticity.nearest])
@pytest.mark.parametrize("rule", ["pair", "triplet"])
def test_brian2_has_the_same_weights(rule: str, pairing: Any, low: float, high: float) -> None:
    draw = torch.Generator().manual_seed(0)
    pre, post = (torch.rand(T, n, dtype=torch.double, generator=draw).lt(0.3).double() for n in (I, O))
    weight = 0.35 + 0.2 * torch.rand(O, I, dtype=torch.double, generator=draw)
    params = PAIR if rule == "pair" else PAIR | SLOW
    expected = brian2_weights(pre.numpy(), post.numpy(), weight.numpy(), params, pairing is nearest, low, high)
    step: Any = plasticity.pair_stdp if rule == "pair" else plasticity.triplet_stdp
    sides = [I, O] if rule == "pair" else [I, I, O, O]
    zeros = [torch.zeros(n, dtype=torch.double) for n in sides]
    traces: Any = plasticity.PairTraces(*zeros) if rule == "pair" else plasticity.TripletTraces(*zeros)
    for t in range(T):
        traces, change = step(
            traces, pre[t], post[t], weight, pairing=pairing, bounds=plasticity.HardBounds(low, high), **params
        )
        weight = weight + change
    torch.testing.assert_close(weight, torch.from_numpy(expected), rtol=1e-9, atol=1e-9)
