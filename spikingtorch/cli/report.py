"""``python -m spikingtorch report MODULE:FACTORY``: one HTML page about the network of a function."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from spikingtorch.cli import CommandError, function_of, positive
from spikingtorch.report import report

_DESCRIPTION = """Write one HTML page about a network: learning curves, layers with their costs, firing rates, advice
on silent neurons, and a check of its gradients."""
_FACTORY = """FACTORY() returns (model, loader), or (model, loader, options): a SpikingNet, its input batches, and a
dict of further arguments of report(), such as {"encoder": PoissonEncoder(8), "title": "Digits"}. A checkpoint is a file
of torch.save: a state_dict of the model, or a dict with one as "model" or "state_dict". If the dict has a "history",
a list of (loss, accuracy) or of dicts, one for each epoch, it becomes curves."""
_OPTIONS = ("encoder", "history", "title")
_RETURNS = "expected (model, loader) or (model, loader, options)"


class ReportInputs(NamedTuple):
    """The result of FACTORY: the network, its batches, and options of the report."""

    model: Any
    loader: Iterable[Any]
    options: dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report and return the exit code; it is 2 for an error in the command."""
    parser = argparse.ArgumentParser(prog="python -m spikingtorch report", description=_DESCRIPTION, epilog=_FACTORY)
    parser.add_argument("factory", metavar="MODULE:FACTORY", help="the function that makes the network and its batches")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights to load into the network")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="where the page goes (report.html)")
    parser.add_argument("--batches", type=positive, default=4, metavar="N", help="how many batches to run (4)")
    given = parser.parse_args(arguments)
    try:
        made = make(given.factory)
        if given.checkpoint is not None:
            made = loaded(made, given.checkpoint)
        loader = _shown(made.loader, given.batches)
        written = report(made.model, loader, given.out, batches=given.batches, **made.options)
    except (CommandError, ImportError, OSError, TypeError, ValueError) as error:
        parser.error(str(error))
    print(f"Written to {written} ({written.stat().st_size / 1000:,.0f} kB).")
    return 0


def make(text: str, command: str = "report") -> ReportInputs:
    """Return the result of ``module:factory``, or raise CommandError; the command is named in messages."""
    _, factory = function_of(text, f"{command} takes module:factory, such as my_network:make")
    name = text.partition(":")[2]
    try:
        found = factory()
    except Exception as error:
        raise CommandError(f"{name}() fails: {type(error).__name__}: {error}") from error
    if not isinstance(found, tuple | list) or len(found) not in (2, 3):
        what = f"{len(found)} things" if isinstance(found, tuple | list) else f"a {type(found).__name__}"
        raise CommandError(f"{name}() returned {what}, {_RETURNS}")
    model, loader, *rest = found
    options = rest[0] if rest else {}
    if not isinstance(options, Mapping) or not set(options) <= set(_OPTIONS):
        raise CommandError(f"{name}() returned options {options!r}, expected a dict with some of {', '.join(_OPTIONS)}")
    return ReportInputs(model, loader, dict(options))


def loaded(made: ReportInputs, path: Path) -> ReportInputs:
    """Load a checkpoint into it, and its history if there is no other; raise CommandError if it does not fit."""
    if not path.is_file():
        raise CommandError(f"there is no checkpoint at {path}")
    try:
        # to the default device
        content = torch.load(path, map_location=lambda storage, _: storage, weights_only=True)
    except Exception as error:
        raise CommandError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}). It is to hold tensors and plain Python "
            "data: torch.save(model.state_dict(), path)"
        ) from error
    named = [name for name in ("model", "state_dict") if isinstance(content, Mapping) and name in content]
    weights = content[named[0]] if named else content
    if not isinstance(weights, Mapping) or not isinstance(made.model, nn.Module):
        raise CommandError(f"{path} holds no state_dict, under 'model', under 'state_dict' or by itself")
    inner = getattr(made.model, "net", None)
    # a checkpoint of the inner network
    fits = not isinstance(inner, nn.Module) or any(name in weights for name in made.model.state_dict())
    try:
        (made.model if fits else inner).load_state_dict(weights)  # type: ignore[union-attr]
    except (RuntimeError, ValueError, TypeError) as error:
        raise CommandError(f"{path} does not fit to the network: {error}") from error
    history = content.get("history") if named else None
    return made if history is None else made._replace(options={"history": history, **made.options})


def _shown(loader: Iterable[Any], batches: int) -> Iterable[Any]:
    """Return the batches under a progress bar, if tqdm is installed."""
    if isinstance(loader, Tensor) or not isinstance(loader, Iterable):
        return loader  # report refuses it
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return loader

    total = min(batches, len(loader)) if isinstance(loader, Sized) else batches

    def some() -> Iterator[Any]:
        yield from tqdm(islice(loader, total), total=total, unit="batch", leave=False, disable=None)

    return some()
