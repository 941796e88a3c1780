"""What a mutant has to get past: a part of the verification whose other side is computed once and kept in memory.

Numbers by hand are for places that drawn inputs do not reach: thresholds met exactly, infinity, saturation. They take a
side, torch or its twin, and what makes its arrays of a tensor, and say whether the numbers are right.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import torch
from torch import Tensor

from spikingtorch import functional as F
from spikingtorch.cli.verify import keep_programs
from spikingtorch.functional import jax_reference as J
from spikingtorch.functional.core import lru
from spikingtorch.functional.core.tree import tree_map
from spikingtorch.functional.fused.runtime import cpu
from spikingtorch.interop import to_jax, to_torch
from spikingtorch.verification import cells, trial
from spikingtorch.verification.cases import CASES, COEFFICIENTS, LEVELS, RESETS, TWINS, WRAPPED, by_name
from spikingtorch.verification.cells import ALLOWED, TOGETHER, Choice, choices
from tests.functional import test_firing, test_neurons
from tests.functional.fused.lower.test_operations import GROUPS, test_values_and_gradients
from tests.functional.test_neurons import HAND, check_by_hand
from tests.verification.kernels import KERNELS, WHOLE
from tests.verification.mutants import Place, place_of

Convert = Callable[[Any], Any]


def _array(convert: Convert, *numbers: float) -> Any:
    return convert(torch.tensor(numbers, dtype=torch.float64))


def _infinite_membranes(side: Any, convert: Convert) -> bool:
    u, one = _array(convert, math.inf, 2.0), _array(convert, 1.0, 1.0)
    rules = ((side.to_zero, [0.0, 0.0]), (side.to_value(-0.5), [-0.5, -0.5]))
    silent = side.to_zero(u, 0.0 * one, 1.0).tolist()
    return all([rule(u, one, 1.0).tolist() == want for rule, want in rules]) and silent[0] > 1e308 and silent[1] == 2.0


def _right(check: Callable[..., None], *given: Any) -> bool:
    check(*given)
    return True


def _saturated(side: Any, convert: Convert) -> bool:
    """The exponent stops at 20, so that u = v + leak sharpness exp(20), but for -v + x, which is 0."""
    state, x = side.ExponentialIFState(v=_array(convert, 30.0)), _array(convert, 30.0)
    params = {"leak": 0.5, "v_rheobase": 0.0, "sharpness": 1.0, "threshold": 1e12}
    v = side.exponential_if_step(state, x, **params)[0].v.tolist()[0]
    return math.isclose(v, 30.0 + 0.5 * math.exp(20.0), rel_tol=1e-12)


def _delays(side: Any, convert: Convert) -> bool:
    """Whole delays hand on what came so many steps ago, with the oldest at the longest delay."""
    past = side.DelayState((_array(convert, 2.0), _array(convert, 3.0)))
    found = [side.delay_step(past, _array(convert, 1.0), delay=delay)[1].tolist()[0] for delay in (0.0, 1.0, 2.0, 0.5)]
    return found == [1.0, 2.0, 3.0, 1.5]


def _slopes_of_delays(side: Any, convert: Convert) -> bool:
    """At a whole delay the slope is that to the right: what came a step earlier, less what came then."""
    past = side.DelayState((_array(convert, 2.0), _array(convert, 5.0)))
    slopes = [
        _slope(side, convert, delay, lambda d: side.delay_step(past, _array(convert, 1.0), delay=d)[1])
        for delay in (0.0, 1.0, 2.0)
    ]
    return slopes == [1.0, 3.0, -5.0]


_DELAYED = {0.0: [1.0, 4.0, 5.0], 1.0: [2.0, 1.0, 4.0], 2.0: [3.0, 2.0, 1.0], 0.5: [1.5, 2.5, 4.5]}


def _delayed_sequences(side: Any, convert: Convert) -> bool:
    """The same for a whole sequence, by a number, by a tensor for all neurons and by one for each."""
    past = side.DelayState((_array(convert, 2.0)[None], _array(convert, 3.0)[None]))
    xs = _array(convert, 1.0, 4.0, 5.0)[:, None, None]
    right = []
    for number, want in _DELAYED.items():
        for delay in (number, _array(convert, number)[0], _array(convert, number)):
            for dim, sequence in ((0, xs), (1, xs.swapaxes(0, 1)), (2, xs.swapaxes(0, 2))):
                state, out = side.delayed(past, sequence, delay, dim)
                right += [out.shape == sequence.shape, out.reshape(3).tolist() == want]
                right += [[each.tolist() for each in state.past] == [[[5.0]], [[4.0]]]]
    alone = [_slope(side, convert, delay, lambda d: side.delayed(past, xs, d[0])[1].sum(0)) for delay in _DELAYED]
    each = [_slope(side, convert, delay, lambda d: side.delayed(past, xs, d)[1].sum(0)) for delay in _DELAYED]
    return all(right) and alone == each == [-3.0, -1.0, -6.0, -3.0]


def _slope(side: Any, convert: Convert, at: float, function: Callable[[Any], Any]) -> float:
    if side is F:
        place = torch.tensor([at], dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(function(place).sum(), place)
        return float(slope.item())
    return float(jax.grad(lambda place: function(place).sum())(_array(convert, at)).item())


def _rests(side: Any, convert: Convert) -> bool:
    """A neuron rests for two steps after a spike; the length is given with the call."""
    step, params = side.Refractory(side.if_step, 1.0), {"refractory": 2.0}
    state = side.RefractoryState(side.IFState(v=_array(convert, 0.0)), _array(convert, 0.0))
    spikes = []
    for _ in range(5):
        state, out = step(state, _array(convert, 1.0), **params)
        spikes += out.tolist()
    return spikes == [1.0, 0.0, 0.0, 1.0, 0.0] and state.left.tolist() == [1.0]


EDGES: dict[str, Callable[[Any, Convert], bool]] = {
    "infinite membranes": _infinite_membranes,
    **{f"spikes {k}": partial(_right, test_firing.check_by_hand, row) for k, row in enumerate(test_firing.HAND)},
    "a saturated exponential": _saturated,
    "whole delays": _delays,
    "slopes of whole delays": _slopes_of_delays,
    "delayed sequences": _delayed_sequences,
    "detached twice": lambda side, _: side.detached(side.detached(side.none)) == side.detached(side.none) != side.none,
    "spikes by chance": partial(_right, test_neurons.check_stochastic_lif),
    "rests": _rests,
}


def _leaks() -> bool:
    pairs = [(w, 1.0 / (1.0 + math.exp(-w))) for w in (-2.0, -0.5, 0.0, 0.5, 2.0)]
    right = all([abs(F.leak_from_w(w) - want) < 1e-15 for w, want in pairs])
    return right and F.leak_from_w(-800.0) == 0.0 and F.leak_from_w(800.0) == 1.0


def _delayed(delay: Any) -> bool:
    """Compare a delay that moves its inputs with the scan of its step."""
    test_neurons.test_delayed_is_the_scan(delay, 5, -1)
    return True


_OF_EACH = torch.tensor([0.25, 3.5, 4.0], dtype=torch.float64)
# what has no twin
TORCH_ALONE: dict[str, Callable[[], bool]] = {
    **{f"delayed by {delay}": lambda delay=delay: _delayed(delay) for delay in (0.0, 0.25, 1.0, 2.25, 4.0)},  # type: ignore[misc]
    "delayed, one each": lambda: _delayed(_OF_EACH),
    "delayed, one for all": lambda: _delayed(torch.tensor(2.5, dtype=torch.float64)),
    "leaks": _leaks,
}


LENGTH, MANY = 17, 48
# of a neuron other than the leaky one, which meets every surrogate
FEW = 4


# in millivolts and far from the threshold, slopes of these leave too few digits for the tolerance
_ILL = (("izhikevich", "FastSigmoid"), ("izhikevich", "Sigmoid"))


class Check(NamedTuple):
    """A comparison.

    Attributes:
        name: what is compared.
        right: makes it and says whether the numbers agree.
        reached: the functions that it calls.
    """

    name: str
    right: Callable[[], bool]
    reached: set[Place]

    def fails(self) -> bool:
        """Say whether the comparison fails, by its numbers or by an error."""
        try:
            return not self.right()
        except Exception:
            return True


def checks(side: str) -> list[Check]:
    """Return the comparisons that show a mutant of one side, each with the functions that it reaches."""
    makers = {"torch": _torch_checks, "jax": _jax_checks, "c": _kernel_checks}
    found = []
    for name, right in makers[side]():
        check = Check(name, right, set())
        sys.setprofile(lambda frame, event, argument, check=check: check.reached.add(place_of(frame.f_code)))  # type: ignore[misc]
        try:
            failed = check.fails()
        finally:
            sys.setprofile(None)
        if failed:
            raise ValueError(f"{name} fails without any mutant")
        found.append(check)
    return found


def _chosen() -> list[Choice]:
    """Return the choices of the table that are compared: few of each neuron, all of the leaky one and of levels."""
    found = []
    for case in (*CASES, *WRAPPED):
        mine = choices([case])
        found += mine if case.name == "lif" else mine[:: max(1, len(mine) // FEW)]
    found = [choice for choice in found if choice.names()[:2] not in _ILL]
    return found + [Choice(CASES[0], pair, rule) for pair in LEVELS for rule in RESETS]


class _Stored(NamedTuple):
    trial: trial.Trial
    cotangents: dict[str, Tensor]
    ours: dict[str, Tensor]
    theirs: dict[str, Tensor]


def _stored(chosen: Sequence[Choice], twins: bool, shortened: bool = False) -> list[_Stored]:
    """Return comparisons with the results of torch, and those of the twins where they are asked for."""
    draw = torch.Generator().manual_seed(0)
    trials = [_last_step(each) if shortened else _whole(each) for each in chosen]
    cotangents = [trial.draw_cotangents(each, draw) for each in trials]
    ours = [trial.torch_results(*each, "loop") for each in zip(trials, cotangents, strict=True)]
    theirs: list[dict[str, Tensor]] = []
    for start in range(0, len(trials) if twins else 0, TOGETHER):
        part = slice(start, start + TOGETHER)
        theirs += _twins(trials[part], ours[part], cotangents[part])
    return [_Stored(*each) for each in zip(trials, cotangents, ours, theirs or ours, strict=True)]


def _whole(choice: Choice) -> trial.Trial:
    return choice.case.trial(LENGTH, *choice.surrogate, choice.reset)


def _last_step(choice: Choice) -> trial.Trial:
    """Return the last step of a sequence of many neurons, some of which fire in it."""
    whole = _whole(choice._replace(case=choice.case._replace(shape=(MANY,))))
    state, _ = F.scan(
        whole.step, whole.state, tree_map(lambda x: x[:-1], whole.xs), params=whole.params, backend="loop"
    )
    return whole._replace(state=tree_map(torch.detach, state), xs=tree_map(lambda x: x[-1:], whole.xs))


def _one_step(step: Any, state: Any, xs: Any, *, params: Any) -> Any:
    """Run a twin over a sequence of one step, in place of its scan."""
    state, out = step(state, jax.tree.map(lambda x: x[0], xs), **params)
    return state, jax.tree.map(lambda leaf: leaf[None], out)


def _twins(trials: Any, ours: Any, cotangents: Any) -> list[dict[str, Tensor]]:
    with jax.enable_x64(True):
        jobs = [trial._twin_job(*each, J.scan) for each in zip(trials, cotangents, ours, strict=True)]
        run = jax.jit(lambda arguments: [job(*a) for (job, _), a in zip(jobs, arguments, strict=True)])
        compiled = run.lower([a for _, a in jobs]).compile(trial._QUICK)
        found: list[dict[str, Tensor]] = to_torch(compiled([a for _, a in jobs]))
    return found


def _twin(stored: _Stored) -> dict[str, Tensor]:
    """Return the results of a twin operation by operation, which keeps what is compiled from one mutant to the next."""
    with jax.enable_x64(True):
        job, given = trial._twin_job(stored.trial, stored.cotangents, stored.ours, J.scan)
        found: dict[str, Tensor] = to_torch(job(*given))
    return found


def _agree(got: dict[str, Tensor], want: dict[str, Tensor]) -> bool:
    return got.keys() == want.keys() and all([trial.relative_error(got[name], want[name]) <= ALLOWED for name in want])


def _equations(side: Any) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Yield the comparisons of one side, torch or its twin: by hand, of surrogates at points, and of coefficients."""
    convert: Callable[[Any], Any] = to_jax if side is J else lambda tree: tree
    # the table of numbers worked out by hand, some of which meet the threshold exactly
    for row in HAND:
        yield f"{row[0]} by hand", partial(_wide, partial(_right, check_by_hand, row, side, convert))
    yield from ((name, partial(_wide, partial(edge, side, convert))) for name, edge in EDGES.items())
    for ours, twin in _slopes():
        values = partial(cells._torch_values, ours, cells.POINTS), partial(_wide, partial(_of_twin, twin))
        mine, other = values if side is F else values[::-1]
        want = other()
        yield by_name(ours), lambda mine=mine, want=want: _agree(mine(), want)  # type: ignore[misc]
    for ours, twin in COEFFICIENTS:
        yield (
            by_name(ours),
            lambda a=ours, b=twin: max(cells.coefficient_errors(a, b).values()) <= ALLOWED,  # type: ignore[misc]
        )


def _torch_checks() -> Iterator[tuple[str, Callable[[], bool]]]:
    keep_programs()
    yield from _equations(F)
    yield from TORCH_ALONE.items()
    for each in _stored(_chosen(), twins=True):
        run = each.trial
        yield (
            by_name(run.step),
            lambda e=each: _agree(trial.torch_results(e.trial, e.cotangents, "loop"), e.theirs),  # type: ignore[misc]
        )


def _jax_checks() -> Iterator[tuple[str, Callable[[], bool]]]:
    yield from _equations(J)
    J.scan = _one_step  # type: ignore[assignment]
    for each in _stored(_chosen(), twins=False, shortened=True):
        yield (
            by_name(each.trial.step),
            lambda e=each: _agree(_twin(e), e.ours),  # type: ignore[misc]
        )


def _kernel_checks() -> Iterator[tuple[str, Callable[[], bool]]]:
    # a pass that is compiled beside another could be that of the mutant before
    cpu._begin_backward = lambda program, wanted: None  # type: ignore[assignment]
    groups: dict[str, Callable[[], None]] = {}
    for turn, names in enumerate(GROUPS):
        # both dtypes, in turns: a kernel takes a second to compile
        dtype = (torch.float64, torch.float32)[turn % 2]
        groups[names[0]] = partial(test_values_and_gradients, names, dtype)
    for name, check in {**KERNELS, **groups, **WHOLE}.items():
        yield name, partial(_printed_anew, check)


def _printed_anew(check: Callable[[], None]) -> bool:
    """Run a check with kernels that are printed for it, though their programs may have been met before."""
    lru.clear_all()
    for made in (cpu.forward_kernel, cpu.backward_kernel, cpu._failure):
        made.cache_clear()
    check()
    return True


def _slopes() -> list[tuple[Any, Any]]:
    """Return the surrogates at their own slopes and at another."""
    pairs: list[tuple[Any, Any]] = list(TWINS)
    own = [(ours, twin) for ours, twin in pairs if any([isinstance(each, float) for each in ours])]
    return [*pairs, *((type(ours)(1.75), type(twin)(1.75)) for ours, twin in own)]


def _of_twin(twin: Any) -> dict[str, Tensor]:
    return to_torch(cells._twin_values(twin, to_jax(cells.POINTS)))


def _wide(run: Callable[[], Any]) -> Any:
    with jax.enable_x64(True):
        return run()
