"""Options of a SpikingNet, which are checked whenever they are set."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from spikingtorch import validation as checks
from spikingtorch.axes import check_order
from spikingtorch.fold.policy import MODES

Statistics: TypeAlias = Literal["step", "sequence"]
EventDriven: TypeAlias = Literal["auto", "off", "on"]
# the options and, for those that are texts, their valid values; check_options checks the others
OPTIONS: dict[str, tuple[str, ...]] = {
    "mode": MODES,
    "statistics": ("step", "sequence"),
    "hooks": ("step", "sequence"),
    "event_driven": ("auto", "off", "on"),
    "time_chunk": (),
    "truncate": (),
    "recompute": (),
    "batch_first": (),
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise unless the options of a network have valid values that fit together."""
    for name, values in OPTIONS.items():
        if values and options[name] not in values:
            raise ValueError(f"SpikingNet: {name}={options[name]!r} is not one of {', '.join(map(repr, values))}")
    check_order("SpikingNet", options["batch_first"])
    _check_chunks(options)
    if options["statistics"] == "sequence" and options["mode"] == "step":
        raise ValueError(
            "SpikingNet: statistics='sequence' needs the whole sequence in one call, and mode='step' runs it step by "
            "step; leave out mode, or pass mode='fold'"
        )


def _check_chunks(options: Mapping[str, Any]) -> None:
    size, recompute = options["time_chunk"], options["recompute"]
    if isinstance(size, str):
        if size != "auto":
            raise ValueError(f"SpikingNet: time_chunk={size!r}, expected a whole number of steps, or 'auto'")
    elif size is not None:
        checks.check_count("SpikingNet", "time_chunk", size)
    elif options["truncate"]:
        raise ValueError(
            "SpikingNet: truncate=True cuts the graph between chunks; say how long one is, with time_chunk=K"
        )
    if not isinstance(recompute, bool):
        raise ValueError(f"SpikingNet: recompute={recompute!r}, expected True or False")
    if recompute and size is None:
        raise ValueError(
            "SpikingNet: recompute=True runs each chunk again in the backward pass; say how long one is, with "
            "time_chunk=K or time_chunk='auto'"
        )
