"""Pictures of spikes, membranes, rates, weights and neurons. They need matplotlib: the extra ``plot``.

    raster, traces, rates           what neurons did
    overview, overview_of           what a network did, on one page
    surrogates, phase_plane         what a neuron is
    weights                         what it has learnt
    animation                       a layer of images as a film

Each function draws on the axes that it is given, or on a new figure, and returns the axes; save the picture by
``ax.figure.savefig("raster.png")``. A notebook shows a new figure as the value of a cell. pyplot is not touched.
Colours of text and background are those of matplotlib's rcParams, so that its style "dark_background" makes dark
pictures.
"""

from spikingtorch.plot.animation import animation
from spikingtorch.plot.overview import overview, overview_of
from spikingtorch.plot.phase_plane import phase_plane
from spikingtorch.plot.raster import raster
from spikingtorch.plot.rates import rates
from spikingtorch.plot.surrogates import surrogates
from spikingtorch.plot.traces import traces
from spikingtorch.plot.weights import weights

__all__ = ["animation", "overview", "overview_of", "phase_plane", "raster", "rates", "surrogates", "traces", "weights"]
