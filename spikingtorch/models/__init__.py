"""Trained networks: those that the package ships, by name, and those of papers, from their authors' weights.

``load("digits")`` is a network with weights, ready to classify; ``about("digits")`` says how it was trained, how well
it does, and its licence. ``load_authors("higuchi2024-ecg-brf", weights)`` is the network of a paper, from the state
dict that its authors have published.
"""

from spikingtorch.models.authors import AUTHORS, load_authors
from spikingtorch.models.digits import digits, digits_int4
from spikingtorch.models.trained import TRAINED, about, load

__all__ = ["AUTHORS", "TRAINED", "about", "digits", "digits_int4", "load", "load_authors"]
