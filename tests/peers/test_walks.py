"""The pages for users of other libraries: the networks that they move are one, and every public name has a row."""

import doctest
import importlib
import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.model import sew_resnet
from torch import nn

from spikingtorch import SpikingNet

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def names_of(library: str) -> dict[str, Any]:
    """Return what the blocks of a page define: in the first a network of theirs, in the others the same of ours."""
    theirs, *ours = BLOCK.findall((DOCS / f"from_{library}.md").read_text())
    found: dict[str, Any] = {}
    exec(theirs, found)
    for block in ours:
        exec("".join(example.source for example in doctest.DocTestParser().get_examples(block)), found)
    return found


class Walk(NamedTuple):
    """Networks of a page, and calls of them with the same input."""

    theirs: nn.Module
    ours: SpikingNet
    run_theirs: Callable[[], Any]
    run_ours: Callable[[], Any]


def of_snntorch(found: dict[str, Any]) -> Walk:
    theirs, ours, images = found["Theirs"](), SpikingNet(found["Ours"](), batch_first=False), torch.rand(8, 784)
    return Walk(theirs, ours, lambda: theirs(images), lambda: ours(images.expand(25, -1, -1)))


def of_norse(found: dict[str, Any]) -> Walk:
    theirs, ours = found["Theirs"](), SpikingNet(found["Ours"](), batch_first=False)
    x = (torch.rand(60, 8, 40) < 0.3).float()
    return Walk(theirs, ours, lambda: theirs(x), lambda: ours(x))


def of_sinabs(found: dict[str, Any]) -> Walk:
    N, T = 4, 20
    theirs, ours = found["theirs"](N), SpikingNet(found["ours"](), (10,))
    x = (torch.rand(N, T, 2, 34, 34) < 0.1).float()
    return Walk(theirs, ours, lambda: theirs(x.flatten(0, 1)).unflatten(0, (N, T)), lambda: ours(x))


def of_spikingjelly(found: dict[str, Any]) -> Walk:
    made = partial(sew_resnet.BasicBlock, 8, 8, cnf="ADD", spiking_neuron=neuron.IFNode, detach_reset=True)
    theirs, x = nn.Sequential(made(), made()), torch.rand(4, 2, 8, 16, 16)
    functional.set_step_mode(theirs, "m")
    blocks = nn.Sequential(found["Block"](8), found["Block"](8))
    ours = SpikingNet(blocks, batch_first=False, statistics="sequence")
    return Walk(theirs, ours, lambda: theirs(x), lambda: ours(x))


def test_a_network_unchanged_but_for_its_nodes() -> None:
    found = names_of("spikingjelly")
    found["ours"].load_state_dict(found["theirs"].state_dict())
    x = torch.rand(4, 2, 3, 32, 32)
    assert torch.equal(found["ours"](x), found["theirs"](x))


WALKS = {"spikingjelly": of_spikingjelly, "snntorch": of_snntorch, "norse": of_norse, "sinabs": of_sinabs}


@pytest.mark.parametrize("library", WALKS)
def test_both_networks_of_a_page_are_one(library: str) -> None:
    torch.manual_seed(0)
    theirs, ours, *runs = WALKS[library](names_of(library))
    with torch.no_grad():
        for weight in theirs.parameters():
            if weight.ndim > 1:
                weight.mul_(3.0)  # so that every layer fires
    ours.net.load_state_dict(theirs.state_dict())
    wanted, got = (run() for run in runs)
    assert ours.explain().mode == "fold"
    for one, other in zip(*[out if isinstance(out, tuple) else (out,) for out in (wanted, got)], strict=True):
        assert one.count_nonzero() > 0
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)
    cotangent = torch.randn_like(wanted[-1] if isinstance(wanted, tuple) else wanted)
    for out in (wanted, got):
        (out[-1] if isinstance(out, tuple) else out).backward(cotangent)
    for name, weight in theirs.named_parameters():
        if weight.grad is not None and weight.ndim > 1:
            grad: Any = ours.net.get_parameter(name).grad
            scale = weight.grad.abs().max()
            assert scale > 0.0, name
            assert (grad - weight.grad).abs().max() <= 1e-4 * scale, name


JELLY = "spikingjelly.activation_based"
OF_JELLY = (
    *("neuron", "layer", "surrogate", "functional", "encoding", "rnn", "learning", "ann2snn", "quantize", "monitor"),
    *("op_counter", "profiler", "memopt", "precision", "base", "nir_exchange", "lava_exchange", "model"),
)
OF_SNN = ("surrogate", "functional", "spikegen", "spikeplot", "utils", "backprop", "import_nir", "export_nir")
OF_SINABS = ("layers", "activation", "network", "from_torch", "utils", "nir", "synopcounter", "conversion")
LIBRARIES: dict[str, list[str]] = {
    "snntorch": ["snntorch", *[f"snntorch.{each}" for each in OF_SNN]],
    "norse": ["norse.torch"],
    "sinabs": ["sinabs", *[f"sinabs.{each}" for each in OF_SINABS]],
    "spikingjelly": [*[f"{JELLY}.{each}" for each in OF_JELLY], "spikingjelly.visualizing"],
}


def public(library: str) -> dict[str, str]:
    """Return the classes and functions of a library that a user meets, and where."""
    found: dict[str, str] = {}
    for name in LIBRARIES[library]:
        for each, value in vars(importlib.import_module(name)).items():
            own = str(getattr(value, "__module__", "")).startswith(library)
            if own and not each.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                found[each] = name
    return found


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_name_has_a_row(library: str) -> None:
    pages = [each.read_text() for each in DOCS.glob(f"from_{library}*.md")]
    page = "\n".join(each.partition("# What takes the place of each name")[2] for each in pages)
    rows = [line.rsplit(" | ", 1)[0] for line in page.splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"\w+", row)}
    missing = {name: where for name, where in public(library).items() if name not in named}
    assert not missing, missing
