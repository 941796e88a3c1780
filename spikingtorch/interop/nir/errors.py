"""NIRError: a graph, a file or a network that cannot be exchanged."""


class NIRError(ValueError):
    """NIR or this library cannot express something; the message names the node or layer and a possible fix."""
