"""The user's tutorial, as it stands there; and the script that has the code of README's."""

import ast
import doctest
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

NET = """
import torch.nn as nn
import torch.nn.functional as F
from spikingtorch import SpikingNet
Nout, nsteps = 10, 8

from spikingtorch import IF
import torch.nn as nn

class MySNN(nn.Module):

    def __init__(self):

        super(MySNN, self).__init__()

        self.Nout = Nout

        self.conv1 = nn.Conv2d(1, 4, (4,4), stride=2, padding=0) # 15x15
        self.conv2 = nn.Conv2d(4, 6, (4,4), stride=1, padding=0)
        self.l1 = nn.Linear(600, Nout, bias=None)

        self.sl1 = IF()
        self.sl2 = IF()
        self.sl3 = IF()

    def forward(self, xi, init):
        xi = self.conv1(xi)
        s1 = self.sl1(xi, init)
        xi = self.conv2(s1)
        s2 = self.sl2(xi, init)
        xi = s2.view(s2.shape[0],-1)
        xi2 = self.l1(xi)
        return self.sl3(xi2, init)

net = MySNN()
model = SpikingNet(net, (Nout,))
"""

TRAINING = """
from spikingtorch.spikeio import PoissonEncoder

nsteps = 8
enc = PoissonEncoder(nsteps, 1.0)

from spikingtorch.spikeio import SumDecoder
decoder = SumDecoder(nsteps, 1.0)
encoder = enc

mdata = encoder(data)
output = decoder(model(mdata))
loss = F.cross_entropy(output, mtarget)
loss.backward()
"""


def test_tutorial_runs_as_it_stands() -> None:
    torch.manual_seed(0)
    images = TensorDataset(torch.rand(64, 1, 28, 28), torch.randint(10, (64,)))
    data, mtarget = next(iter(DataLoader(images, batch_size=32)))
    names: dict[str, Any] = {"data": data, "mtarget": mtarget}
    exec(NET + TRAINING, names)
    assert names["mdata"].shape == (32, 8, 1, 28, 28)
    assert names["output"].shape == (32, 10)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in names["model"].parameters())


# --- README and the script of it --------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]
SECTIONS = ("A first network", "A neuron of your own")


def statements(code: str) -> tuple[set[str], list[str]]:
    """Return what some code imports, and its other statements in their order, without what prints a result."""
    imports: set[str] = set()
    others: list[str] = []
    for node in ast.parse(code).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = getattr(node, "module", "")
            imports |= {f"{origin}: {alias.name} as {alias.asname}" for alias in node.names}
        else:
            others.append(ast.unparse(shown(node)))
    return imports, others


def shown(node: ast.stmt) -> ast.AST:
    """Return the expression that a statement prints, shows or keeps as ``_``; another statement as it is."""
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_":
        return node.value
    if not isinstance(node, ast.Expr):
        return node
    value = node.value
    prints = isinstance(value, ast.Call) and ast.unparse(value.func) == "print"
    return value.args[-1] if prints and isinstance(value, ast.Call) else value


def readme() -> list[doctest.Example]:
    """Return the examples of the sections of README.md that the script is made of."""
    text = (ROOT / "README.md").read_text()
    parts = [text.partition(f"\n## {title}\n")[2].partition("\n## ")[0] for title in SECTIONS]
    return [example for part in parts for example in doctest.DocTestParser().get_examples(part)]


def script() -> str:
    """Return the script without its docstring."""
    return (ROOT / "examples" / "tutorial.py").read_text().partition('"""\n')[2]


def test_the_script_is_the_code_of_readme() -> None:
    """And prints what README.md shows, which is a doctest; make release runs the script."""
    imports, others = statements("".join(example.source for example in readme()))
    assert len(others) > 10
    assert statements(script()) == (imports, others)
