"""A call of a SpikingNet that has not come to its end, and how it is undone."""

import threading
from typing import Any

from spikingtorch.spikingnet.parts import Parts


class Unfinished:
    """What was there when a call began.

    Args:
        parts: what takes part in the call.
    """

    def __init__(self, parts: Parts) -> None:
        self._layers, self._givens, self._monitors = parts.layers, parts.passed_inits, parts.monitors
        self._memories = [layer._memory for layer in parts.layers]
        # those of a network around, which hands the same to all of them
        self._fold = parts.layers[0]._fold if parts.layers else None
        self._passed_init = (
            (parts.passed_inits[0].init, parts.passed_inits[0].running) if parts.passed_inits else (None, None)
        )
        self._thread = threading.get_ident()
        self._counted: list[Any] = [monitor.here() for monitor in parts.monitors] if parts.monitors else []

    def undo(self) -> None:
        """Let everything be as it was."""
        for layer, memory in zip(self._layers, self._memories, strict=True):
            layer._take_back(memory)
            layer._fold, layer._repeated = self._fold, None
        for given in self._givens:
            given.init, given.running = self._passed_init
        # of a thread that a forked child does not have, there is nothing left
        if self._thread == threading.get_ident():
            for monitor, counted in zip(self._monitors, self._counted, strict=True):
                monitor.leave(counted)
