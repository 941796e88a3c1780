"""Try the benchmarks at small sizes: ``python -m benchmarks.rehearsal`` (``make docs``).

The tables of suites are whole. The equality checks, without which nothing is timed, pass our contestants, and refuse a
silent neuron, another equation, another statistic and other losses. All ways to a gradient that one page compares
train one loss. The scripts with a command of their own run once.
"""

import contextlib
import io
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks import beside, check, convolutional, gpu, launch, ours, peers, quantized, report, tutorials
from benchmarks import sequential_digits as page
from benchmarks import sequential_recipe as recipe
from benchmarks.peers import jax as in_jax
from benchmarks.suite import CURRENTS, DEFAULT, DIFFERENCE, IN_JAX, OURS, Case, Result, Size
from benchmarks.suites import JAX_FORMS, SUITES

SMALL = Size(T=60, B=2, N=17)
SIZES = check.SIZES | {CURRENTS: Size(T=5, B=2, N=784)} | dict.fromkeys(convolutional.CHECKED, Size(T=3, B=2, N=4 * 4))
STEP, SEQUENCE = f"{OURS}, step", f"{OURS}, sequence"
PASS = [(contestant, convolutional.MODEL, "fused") for contestant in (OURS, STEP, SEQUENCE, f"{OURS}, channels-last")]
PASS += [(OURS, model, "fused") for model in ("alif", "stochastic_lif", "exponential_synapse")]
PASS += [*((form, "lif", "loop") for form in (*JAX_FORMS, IN_JAX)), (IN_JAX, CURRENTS, "loop")]
PASS += [
    (beside.AS + name, model, "fused")
    for model, neuron in beside.NEURONS.items()
    for name, peer in neuron.peers.items()
    if peer.alike
]
OPTIONS = recipe.Options(epochs=1, pixels=28, digits=100)


def tables() -> Iterator[str]:
    """Yield models without a size, networks with an input of another size, and peers without a bar."""
    for name, suite in SUITES.items():
        found = [[case.model for case in suite.cases(size)] for size in suite.sizes]
        if not all(found) or {model for models in found for model in models} != {*suite.models}:
            yield f"{name}: every size is to have cases, and every model a size"
    for case in (case for size in SUITES["networks"].sizes for case in SUITES["networks"].cases(size)):
        if math.prod(tutorials.NETWORKS[case.model].shape) != case.size.N:
            yield f"networks: {case.model} does not take {case.size.N} numbers"
    bars = {(model, row) for bar in SUITES["neurons-beside"].bars for model in bar.where["model"] for row in bar.over}
    if missing := {(model, peer) for model, neuron in beside.NEURONS.items() for peer in neuron.peers} ^ bars:
        yield f"neurons-beside: {missing} are no bars, or no peers"


def refused(*case: str) -> str:
    """Return what the equality check says of a case; "" if it passes."""
    try:
        check.check(*case)
    except ValueError as error:
        return str(error)
    return ""


def passes() -> Iterator[str]:
    """Yield the contestants of ours that the equality checks refuse."""
    for case in PASS:
        if said := refused(*case):
            yield f"{', '.join(case)}: {said}"


def other_gain(tau: Tensor) -> tuple[Tensor, Tensor]:
    """Return the decay and the gain of a neuron whose inputs are scaled."""
    decay = torch.exp(-1.0 / tau)
    return decay, 1.0 - decay


def lost(case: Case, backend: str, plain: bool = False) -> Any:
    """Return what a case is about, with other losses than those of its loop."""
    found = SUBJECT(case, backend, plain)
    return found if plain else found._replace(observe=lambda kept: (1.001 * found.observe(kept)[0], []))


SUBJECT = peers.subject
SILENT = beside.NEURONS["alif"]._replace(drive=(0.0, 1e-3))
HALVED = in_jax.Library({"jax.lax.scan": lambda _: in_jax.over_time(in_jax.lif)}, in_jax.lif)._replace(gain=0.5)
# what the check is to say, the fault, and the case in which it lies
FAULTS: list[tuple[str, Any, tuple[str, str, str]]] = [
    ("spikes in 0.0% of the steps", mock.patch.dict(beside.NEURONS, alif=SILENT), (OURS, "alif", "fused")),
    ("no dropout: ", mock.patch.object(ours, "leak", other_gain), (STEP, convolutional.MODEL, "fused")),
    (
        f"no dropout, {STEP}: ",
        mock.patch.object(check, "SAME", {SEQUENCE: STEP}),
        (SEQUENCE, convolutional.MODEL, "fused"),
    ),
    ("losses off by 1.0e-03", mock.patch.object(peers, "subject", lost), (IN_JAX, CURRENTS, "loop")),
    ("other outputs in", mock.patch.object(in_jax, "LIBRARY", HALVED, create=True), ("jax.lax.scan", "lif", "loop")),
]


def faults() -> Iterator[str]:
    """Yield the faults that the equality checks do not find."""
    for message, fault, case in FAULTS:
        with fault:
            said = refused(*case)
        if message not in said:
            yield f"the check of {', '.join(case)} says {said!r}, and there is a fault: {message}"


def gradients(way: str, recurrent: bool, steps: int) -> Tensor:
    """Return the gradient of a way on one batch."""
    torch.manual_seed(0)
    model = recipe.network(7, recipe.Setting("rows", (6, 5), recurrent)).double()
    gradient, x, y = recipe.WAYS[way](model), torch.rand(4, steps, 7).double(), torch.tensor([0, 3, 9, 3])
    for _ in range(2):  # a second sequence begins anew
        model.zero_grad()
        gradient(x, y)
    return torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


def ways() -> Iterator[str]:
    """Yield the ways to a gradient that do not have the loss of all others, or leave nothing out."""
    for recurrent in (False, True):
        true, one = gradients("BPTT", recurrent, 9), gradients("BPTT", recurrent, 1)
        for way in recipe.WAYS:
            off = (gradients(way, recurrent, 9) - true).norm() / true.norm()
            if not torch.allclose(gradients(way, recurrent, 1), one, rtol=1e-12, atol=1e-14):
                yield f"{way}: another gradient than BPTT for one step, in which all are exact"
            if off > 1e-12 if way in ("BPTT", "exact") else off < 1e-3:
                yield f"{way}: the gradient of nine steps is {off:.1e} from that of BPTT"
    image = torch.arange(784.0).reshape(1, 1, 28, 28)
    order = recipe.sequences("permuted", torch.cat([image, image + 1000.0]), 8)
    if not order[0].flatten().sort().values.equal(image.flatten()) or not (order[0] + 1000.0).equal(order[1]):
        yield "permuted: an image does not have every pixel once, in the order of all others"
    if not recipe.sequences("rows", image)[0, 3].equal(torch.arange(84.0, 112.0)):
        yield "rows: they do not arrive from above"


def pages() -> Iterator[str]:
    """Yield the scripts whose tables are not what they say."""
    with tempfile.TemporaryDirectory() as folder:
        gpu.main(["--quick", "--device", "cpu", "--output", folder])
        rows = [line for line in (Path(folder) / "gpu.md").read_text().splitlines() if line.startswith(f"| {OURS} ")]
        if len(rows) != 5 or not all("1.00x" in row for row in rows):
            yield f"gpu: the table has {rows}"
        results = Path(folder) / "results.json"
        train = mock.Mock(side_effect=[[0.25], KeyboardInterrupt, *[[0.5]] * 99])
        with mock.patch.object(recipe, "train", train):
            with contextlib.suppress(KeyboardInterrupt):
                recipe.train_all(results, 1, OPTIONS)
            found = recipe.train_all(results, 1, OPTIONS)
        if train.call_count != len(found) + 1:
            yield f"sequential digits: a second run trains {train.call_count - 2} of {len(found)} results, and has one"
        reached = page.curves(found, OPTIONS)
        page.draw(Path(folder) / "figure.png", reached)
        if "50.0" not in page.page(reached, OPTIONS, "figure.png"):
            yield "sequential digits: the page lacks the accuracies"
    cells = [line.split() for line in quantized.accuracies(1, [8], 0, 0).splitlines()[4:]]
    # without any training, both ways to round are the same
    if len(cells) != 2 or any(row[-4] != row[-2] for row in cells):
        yield f"quantized: the table has {cells}"
    suite = SUITES["jax-digits"]
    cases = [case for case in suite.cases(suite.sizes[0]) if case.contestant == IN_JAX]
    off = [Result(case, DEFAULT, DIFFERENCE, (1e-5,)) for case in cases]
    with tempfile.TemporaryDirectory() as folder:
        run = launch.Options("fused", [], True, 1, 1.0, Path(folder), 1)
        for date, name in (("1", "jax-digits"), ("2", "another"), ("3", "another")):
            report.write(run, {"date": f"2026-01-0{date}", "CPU": f"a CPU {date}"}, name, suite, off)
        lines = [line for name in ("jax-digits", "setup") for line in (Path(folder) / f"{name}.md").open()]
    shown = {"".join(line.split()) for line in lines}
    wanted = ["|jax-digits:largestdifferenceoflosses,2cases|10millionths|≤100millionths|pass|"]
    # the page of the second run is that of the third one now
    wanted += ["||2026-01-01|2026-01-03|", "|CPU|aCPU1|aCPU3|", "|budgetofacase|1s|1s|"]
    yield from (f"jax-digits: its page, or that of the runs, lacks {line}" for line in wanted if line not in shown)


CHECKS = (tables, ways, pages, passes, faults)


def main() -> int:
    """Print what is wrong, and return the exit code."""
    with mock.patch.object(check, "SIZE", SMALL), mock.patch.object(check, "SIZES", SIZES):
        found: list[str] = []
        for one in CHECKS:
            with contextlib.redirect_stdout(io.StringIO()):
                found += one()
    print("\n".join(found) or f"{len(SUITES)} suites of benchmarks compute what they say")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
