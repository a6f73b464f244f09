"""A figure that a notebook shows by itself; importing this loads matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A matplotlib figure that notebooks display whether or not pyplot has been set up."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=self.dpi)
        return image.getvalue()
