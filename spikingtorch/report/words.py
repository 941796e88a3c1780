"""Numbers and names for people."""


def counted(number: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun.

    >>> counted(1, "sample"), counted(1200, "sample"), counted(2, "batch", "batches")
    ('1 sample', '1,200 samples', '2 batches')
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def named(layer: str) -> str:
    """Return the name of a layer for pictures: a number of nn.Sequential needs a word, and legends hide underscores.

    >>> named("0"), named("_hidden"), named("sl1")
    ('layer 0', 'layer _hidden', 'sl1')
    """
    return f"layer {layer}" if layer.isdecimal() or layer.startswith("_") else layer


def percent(share: float) -> str:
    """Return a share for people, never rounded to none or to all.

    >>> percent(0.0), percent(0.0004), percent(0.376), percent(0.9999), percent(1.0)
    ('0 %', '< 0.1 %', '37.6 %', '> 99.9 %', '100 %')
    """
    if 0.0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1.0:
        return "> 99.9 %"
    return f"{100 * share:.3g} %"
