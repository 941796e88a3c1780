"""NIRError: a graph, a file or a network that cannot be exchanged."""


class NIRError(ValueError):
    """Something that NIR, or this library, cannot say; the message names the node or layer and what would fit."""
