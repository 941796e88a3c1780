"""The benchmarks of JAX: what is timed computes what it says, and tells the loop from another neuron."""

import numpy as np
import pytest

from benchmarks import check, launch, peers, report
from benchmarks.jax_training import drawn
from benchmarks.peers import jax as in_jax
from benchmarks.suite import (
    CURRENTS,
    DEFAULT,
    DIFFERENCE,
    FORWARD,
    IN_JAX,
    IN_JAX_LOOP,
    JAX_TRAINING,
    Case,
    Result,
    Size,
)
from benchmarks.suites import JAX_FORMS, SUITES

SMALL = Size(T=60, B=2, N=17)

pytestmark = pytest.mark.long  # it runs the suites on small sizes


@pytest.fixture(autouse=True)
def few_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SIZE", SMALL)
    monkeypatch.setitem(check.SIZES, CURRENTS, Size(T=5, B=2, N=784))


@pytest.mark.parametrize(
    ("contestant", "model"), [*((form, "lif") for form in JAX_FORMS), (IN_JAX, "lif"), (IN_JAX, CURRENTS)]
)
def test_what_is_timed_computes_the_same(contestant: str, model: str) -> None:
    check.check(contestant, model, "loop")


def test_a_library_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    library = in_jax.Library({"other": lambda _: in_jax.over_time(in_jax.lif)}, in_jax.lif)
    monkeypatch.setattr(in_jax, "LIBRARY", library, raising=False)
    monkeypatch.setitem(peers.FILES, "other", "peers.jax")
    check.check("other", "lif", "loop")
    monkeypatch.setattr(in_jax, "LIBRARY", library._replace(gain=0.5))
    with pytest.raises(ValueError, match="other spikes in"):
        check.check("other", "lif", "loop")


def test_other_losses_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = peers.subject

    def lost(case: Case, backend: str, plain: bool = False) -> object:
        found = subject(case, backend, plain)
        return found if plain else found._replace(observe=lambda kept: (1.001 * found.observe(kept)[0], []))

    monkeypatch.setattr(peers, "subject", lost)
    with pytest.raises(ValueError, match=r"losses off by 1\.0e-03"):
        check.check(IN_JAX, CURRENTS, "loop")


@pytest.mark.sampled
@pytest.mark.parametrize("model", JAX_TRAINING)
def test_every_layer_spikes_and_learns(model: str) -> None:
    losses, weights = peers.subject(Case(IN_JAX_LOOP, model, Size(T=8, B=2, N=784)), "loop").observe(None)
    assert np.isfinite(losses).all()
    assert len(set(losses)) > 1
    assert all((one != other).any() for one, other in zip(weights, drawn(model), strict=True))


def test_a_first_call_is_that_of_one_contestant(monkeypatch: pytest.MonkeyPatch) -> None:
    suite, options = SUITES["jax-first-call"], launch.Options("loop", [], True, None, 1.0, launch.HERE, 1)
    cases: list[Case] = []

    def run(_: str, options: launch.Options, case: Case, traced: bool) -> dict[str, float]:
        cases.append(case)
        return {"first": 3.0, "second": 2.0, "tracer": float(traced)}

    monkeypatch.setattr(launch, "run", run)
    results = [result for _, step in launch.steps(options, suite) for result in step()]
    assert [result.case for result in results] == [case for size in suite.sizes for case in suite.cases(size)]
    assert {case.contestant for case in cases} == {IN_JAX, "jax.lax.scan"}


def test_forward_gives_spikes_alone() -> None:
    assert set(peers.subject(Case(IN_JAX, "lif", SMALL), "loop").calls) > {FORWARD}


def test_losses_that_are_equal_have_a_row_and_pass() -> None:
    suite = SUITES["jax-digits"]
    cases = [case for case in suite.cases(suite.sizes[0]) if case.contestant == IN_JAX]
    results = [Result(case, DEFAULT, DIFFERENCE, (1e-5 * k,)) for k, case in enumerate(cases)]
    (table,) = report.tables(suite, results)
    assert "0.0000" in table
    limited = [row for row in report.verdicts("jax-digits", suite, results) if "losses" in row[0]]
    assert [row[1:] for row in limited] == [[f"{n} millionths", "≤ 100 millionths", "pass"] for n in (0, 10)]
    missing = Result(cases[0]._replace(contestant=IN_JAX_LOOP), DEFAULT, DIFFERENCE, (1e-6,))
    assert "1.00" in next(iter(report.tables(suite, [*results, missing])))
