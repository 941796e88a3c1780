"""Exchange networks by NIR, the Neuromorphic Intermediate Representation, and prove that both sides spike alike.

    to_nir              a SpikingNet as a graph
    from_nir            a graph, or a file, as a SpikingNet
    load_nir_weights    the weights of a graph into a network that stands
    verify_nir          a certificate: the network of a graph beside an independent simulation of it
    dialects            graphs of other libraries as these mean them
    read                a file, whose sizes are looked at before it is loaded; ``nir.write`` writes one

They need the package nir, 1.0.7 or newer: the extra ``nir``. Source of the format: J. E. Pedersen et al., "Neuromorphic
intermediate representation", Nat. Commun. 15 (2024), doi:10.1038/s41467-024-52259-9.
"""

import inspect as _inspect

try:
    import nir as _nir
except ModuleNotFoundError as error:
    if error.name != "nir":
        raise
    raise ModuleNotFoundError(
        "spikingtorch.interop.nir needs the package nir: pip install 'spikingtorch[nir]'", name="nir"
    ) from error

# neurons of an older nir differ: they reset by subtraction, and have no v_reset
if "type_check" not in _inspect.signature(_nir.read).parameters:
    raise ImportError(
        f"spikingtorch.interop.nir needs nir 1.0.7 or newer, and {getattr(_nir, '__version__', 'an older one')} "
        "is installed, whose neurons have another meaning: pip install --no-deps nir==1.0.8. Sinabs 3.1.3 asks "
        "for 1.0.4, and works with 1.0.8 as well.",
        name="nir",
    )

from spikingtorch.interop.nir import dialects
from spikingtorch.interop.nir.certificate import verify_nir
from spikingtorch.interop.nir.errors import NIRError
from spikingtorch.interop.nir.export import to_nir
from spikingtorch.interop.nir.files import read
from spikingtorch.interop.nir.importing import from_nir
from spikingtorch.interop.nir.weights import load_nir_weights
from spikingtorch.interop.verdict import Certificate

__all__ = ["Certificate", "NIRError", "dialects", "from_nir", "load_nir_weights", "read", "to_nir", "verify_nir"]
del _inspect, _nir
