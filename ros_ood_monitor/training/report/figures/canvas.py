"""What all figures have in common: colours, a canvas without a display, and bytes of a PNG."""

from __future__ import annotations

import io
from typing import Any, Final

__all__ = ['AUROC', 'CHOSEN', 'FIT', 'HELD_OUT', 'OTHER', 'new_figure', 'plain_axes', 'to_png']

# Okabe and Ito's colours, which stay apart with every kind of colour vision
HELD_OUT, FIT, AUROC, CHOSEN = '#0072B2', '#56B4E9', '#009E73', '#D55E00'
OTHER: Final = '#999999'
_DPI: Final = 130


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout='constrained')
    FigureCanvasAgg(figure)  # draws without a display, whatever the user's settings say
    return figure


def to_png(figure: Any) -> bytes:
    """Return a figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    # no line about the software: equal data give equal bytes
    figure.savefig(buffer, format='png', metadata={'Software': None})
    return buffer.getvalue()


def plain_axes(axes: Any) -> None:
    """Take from axes what distracts from the data."""
    axes.grid(visible=True, color='0.9', lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
