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
    "batch_first": (),
}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise unless the options of a network have valid values that fit together."""
    for name, values in OPTIONS.items():
        if values and options[name] not in values:
            raise ValueError(f"SpikingNet: {name}={options[name]!r} is not one of {', '.join(map(repr, values))}")
    check_order("SpikingNet", options["batch_first"])
    if options["time_chunk"] is not None:
        checks.check_count("SpikingNet", "time_chunk", options["time_chunk"])
    elif options["truncate"]:
        raise ValueError(
            "SpikingNet: truncate=True cuts the graph between chunks; say how long one is, with time_chunk=K"
        )
    if options["statistics"] == "sequence" and options["mode"] == "step":
        raise ValueError(
            "SpikingNet: statistics='sequence' needs the whole sequence in one call, and mode='step' runs it step by "
            "step; leave out mode, or pass mode='fold'"
        )
