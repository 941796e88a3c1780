"""Figures and axes that a notebook shows, if they are the last value of a cell. Importing them imports matplotlib."""

import io
from typing import Any

import matplotlib.axes
import matplotlib.figure

# a notebook shows so many pixels for an inch, whatever the resolution of the file
_PIXELS = 100


class Figure(matplotlib.figure.Figure):
    """A figure that pyplot does not manage. A notebook shows figures of pyplot by itself, and this one as its value."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return the picture as a file, and its size on the page, as IPython asks for them."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        width, height = (round(_PIXELS * float(inches)) for inches in self.get_size_inches())
        return file.getvalue(), {"width": width, "height": height}


class Axes(matplotlib.axes.Axes):
    """Axes of such a figure, which a notebook shows as the figure."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        figure: Any = self.figure
        return figure._repr_png_()  # type: ignore[no-any-return]
