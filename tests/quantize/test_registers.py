"""The proof that neurons stay in their registers, beside all states that small ones can reach."""

from typing import Any

import numpy as np
from numpy.random import Generator

from spikingtorch.quantize.neurons import RESETS, ROUNDINGS, Neuron, State, advance
from spikingtorch.quantize.nodes import Diagonal
from spikingtorch.quantize.proof import stays_in_register


def draw(rng: Generator) -> tuple[Neuron, tuple[int, int]]:
    """Return one neuron with a register of 2 to 5 bits, and the least and the largest input."""
    half, m = 2 ** int(rng.integers(1, 5)), int(rng.integers(4))
    kind, reset, rounding = (str(rng.choice(each)) for each in (("if", "lif", "cuba"), RESETS, ROUNDINGS))
    decay, second = ((int(k), m) for k in rng.integers(-1, 2**m + 2, size=2))
    numbers: dict[str, Any] = {"threshold": int(rng.integers(-1, half)), "strict": bool(rng.integers(2))}
    numbers |= {"v_reset": int(rng.choice([-half, half - 1])), "fraction_bits": int(rng.integers(-1, 2))}
    numbers |= {"decay": (1, 0) if kind == "if" else decay, "decay_synapse": second if kind == "cuba" else None}
    back = Diagonal("back", rng.integers(-3, 4, 1), 0) if rng.random() < 0.3 else None
    numbers |= {"recurrent": back, "low": -half, "high": half - 1, "overflow": "error"}
    node = Neuron("n", kind, (1,), 0, reset=reset, rounding=rounding, bound=9, **numbers)
    return node, (-int(rng.integers(4)) * int(rng.integers(2)), int(rng.integers(6)))


def overflows(node: Neuron, span: tuple[int, int]) -> bool:
    """Return whether a state that the neuron reaches from rest overflows for some input."""
    seen, states = {(0, 0, 0)}, [(0, 0, 0)]
    x = np.arange(span[0], span[1] + 1)[:, None]
    while states:
        i, v, s = (np.full_like(x, each) for each in states.pop())
        try:
            after, _, fires = advance(node, State(i, v), node.current(x, s))
        except OverflowError:
            return True
        new = {*zip(*(each.ravel().tolist() for each in (after.i, after.v, fires)), strict=True)} - seen
        seen |= new
        states += new
    return False


def test_a_proof_holds_for_all_states_and_fails_for_few_others() -> None:
    rng, counts = np.random.default_rng(0), {(True, False): 0, (False, True): 0, (False, False): 0}
    for _ in range(2000):
        drawn = draw(rng)
        counts[stays_in_register(*drawn), overflows(*drawn)] += 1  # a proof of what overflows is a KeyError
    assert counts[True, False] > 2 * counts[False, False]
