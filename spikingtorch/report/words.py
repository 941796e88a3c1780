"""Format numbers and names for readers."""

from spikingtorch.units import quantity


def named(layer: str) -> str:
    """Return a layer's name for pictures: numbers of nn.Sequential get a word, because legends hide underscores.

    >>> named("0"), named("_hidden"), named("sl1")
    ('layer 0', 'layer _hidden', 'sl1')
    """
    return f"layer {layer}" if layer.isdecimal() or layer.startswith("_") else layer


def unbroken(text: str) -> str:
    r"""Return a number and its unit so that they stay on one line.

    >>> unbroken("45 nm") == "45\N{NO-BREAK SPACE}nm"
    True
    """
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def joules(nanojoules: float) -> str:
    """Return an energy, with the prefix that fits.

    >>> joules(4340.0).split()
    ['4.34', 'µJ']
    """
    return unbroken(quantity(1e-9 * nanojoules, "J"))
