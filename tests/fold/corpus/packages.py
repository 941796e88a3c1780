"""Modules of Python: a file of settings and helpers, wherever a network meets it, and code of installed packages."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import spikingtorch as st
from tests.fold.corpus import shared_code
from tests.fold.corpus.changes import BATCH, asks
from tests.fold.corpus.entry import FOLDS, FOUR, Entry, Whole, each_time, folds, hides, module, steps
from tests.nets_that_step import centred, put

# --- a file of settings -----------------------------------------------------------------------------------------------

package: Any = types.ModuleType("package_of_helpers")
package.settings = shared_code
package.first, package.second = (types.ModuleType(f"package_of_helpers.{name}") for name in ("first", "second"))
vars(package.first)["scale"], vars(package.second)["log"] = shared_code.scale, shared_code.log
REGISTRY: dict[str, Any] = {"code": shared_code}


def the_module() -> Any:
    return shared_code


class Reads(nn.Module):
    """A first module that reads the settings already."""

    @property
    def gain(self) -> float:
        return shared_code.GAIN

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * shared_code.scale(x)


class Property(nn.Module):
    @property
    def mixes(self) -> bool:
        return shared_code.MIX

    def forward(self, x: Tensor) -> Tensor:
        return centred(x) if self.mixes else x


def to(name: str, value: Any = True) -> Callable[[Any], None]:
    """Return what changes a name of the file."""
    return lambda net: setattr(shared_code, name, value)


def setting(asked: Callable[[], Any], name: str = "MIX") -> Entry:
    """Return an entry that mixes if a setting says so."""
    return asks(lambda net: asked() and net.first is not None, to(name), first=Reads)


def by_import(net: Any, x: Tensor) -> Tensor:
    import changed_settings  # type: ignore[import-not-found]  # pyright: ignore

    return centred(x) if changed_settings.MIX else x


FIRST, SECOND = types.ModuleType("changed_settings"), types.ModuleType("changed_settings")
vars(FIRST).update(MIX=False)
vars(SECOND).update(MIX=True)


def importing() -> nn.Module:
    sys.modules[FIRST.__name__] = FIRST
    return nn.Identity()


SHARED: dict[str, Entry] = {
    "a setting in a second module": setting(lambda: shared_code.MIX),
    "a setting by getattr": setting(lambda: getattr(shared_code, "MIX", False)),
    "a setting through a package": setting(lambda: package.settings.MIX),
    "a setting of a module in a dict": setting(lambda: REGISTRY["code"].MIX),
    "a setting of a module from a function": setting(lambda: the_module().MIX),
    "a setting by a property": folds(module, module=Property, change=to("MIX"), then=BATCH),
    "a helper is handed the module of its setting": folds(
        lambda net, x: shared_code.centred_if(shared_code, x), change=to("MIX"), then=BATCH
    ),
}
LATER: dict[str, Entry] = {
    "a setting that comes later, by hasattr": setting(lambda: hasattr(shared_code, "LATE"), "LATE"),
    "a setting that comes later, by getattr": setting(lambda: getattr(shared_code, "LATE", 0), "LATE"),
    "a helper is replaced": folds(module, module=Reads, change=to("scale", centred), then=BATCH),
    "a setting that enters arithmetic alone": folds(module, module=Reads, change=to("GAIN", 3.0), then=FOLDS),
    "another module of the same name": folds(
        by_import, part=importing, change=lambda net: sys.modules.update({FIRST.__name__: SECOND}), then=BATCH
    ),
    "helpers that keep nothing": folds(lambda net, x: package.first.scale(REGISTRY["code"].scale(x))),
}
SHARED |= {
    # here, code may read anything in the file, and some of it prints
    "a setting by a computed name": steps(
        lambda net, x: centred(x) if getattr(shared_code, "".join(["MI", "X"]), False) else x, change=to("MIX")
    ),
    "a setting by vars": steps(lambda net, x: centred(x) if vars(shared_code)["MIX"] else x, change=to("MIX")),
    "a helper in a dict keeps something": steps(lambda net, x: REGISTRY["code"].log(x), "shared_code.LOG|changes"),
    "a helper in a package keeps something": steps(lambda net, x: package.second.log(x), "changes"),
}

# --- installed packages -----------------------------------------------------------------------------------------------

CODE = """
import torch

ENTRIES = []
OPTIONS = {"mix": False}


def half_if_small(x):
    return x * 0.5 if x.shape[0] <= 10 else x


class Net(torch.nn.Module):
    def __init__(self, code, layers):
        super().__init__()
        self.l, self.layers, self.code = torch.nn.Linear(4, 3), layers, code
        ENTRIES.clear()
        OPTIONS["mix"] = False

    def forward(self, x, init):
        return self.layers(self.code(self.l(x)), init)


class Mixer(torch.nn.Module):
    mix = False

    def forward(self, x):
        return x - x.mean(0) if self.mix else x


def counted(x):
    ENTRIES.append(1)
    return x * 0.5 if len(ENTRIES) > 4 else x


def mixed(x):
    return x - x.mean(0) if OPTIONS["mix"] else x


def printed(x):
    print("a step")
    return x
"""


def installed(path: str, name: str) -> Any:
    """Return a module whose code lies at a path."""
    found = sys.modules[name] = types.ModuleType(name)
    exec(compile(CODE, path, "exec"), vars(found))
    return found


PACKAGE = installed("/opt/site-packages/package/net.py", "installed_for_the_corpus")
BESIDE = str(Path(str(torch.__file__)).parents[1])
# a path that begins with the letters of torch's is not torch's
VISION = installed(f"{BESIDE}/torchvision/net.py", "installed_beside_torch")
MINE = installed(f"{BESIDE}/torch_of_mine.py", "installed_like_torch")


def net_of(owner: Any, code: str) -> Whole:
    return Whole(lambda: owner.Net(getattr(owner, code), st.LI()), FOUR)


INSTALLED: dict[str, Entry] = {
    "an installed network counts": hides(net_of(PACKAGE, "counted")),
    "an option of an installed network": folds(
        net_of(PACKAGE, "mixed"), change=lambda _: PACKAGE.OPTIONS.update(mix=True), then=BATCH
    ),
    "an installed network prints": hides(net_of(PACKAGE, "printed")),
    "an installed module changes": folds(module, module=PACKAGE.Mixer, change=put("module.mix", True), then=BATCH),
    "code beside that of torch": hides(net_of(VISION, "half_if_small")),
    "code whose path begins like torch's": hides(net_of(MINE, "half_if_small")),
}
PACKAGES = SHARED | each_time(LATER | INSTALLED)
