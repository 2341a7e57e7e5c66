"""Sheets of pictures: kept frames, atypical ones, and what was made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.training.report.data import AtypicalImage, SheetImage
from ros_ood_monitor.training.report.figures.canvas import new_figure, OTHER, to_png

__all__ = ['PART_COLOURS', 'draw_atypical', 'draw_contact_sheet', 'draw_examples']

# far apart in lightness too, and each with a line style of its own
PART_COLOURS: Final = {'fit': '#56B4E9', 'validation': '#E69F00', 'calibration': '#000000'}
_PART_STYLES: Final = {'fit': '-', 'validation': '--', 'calibration': ':'}
_SHEET_IMAGES: Final = 48


def draw_contact_sheet(sheet: Sequence[SheetImage]) -> bytes:
    """Draw kept network inputs, framed by the part that each fell into."""
    from matplotlib.lines import Line2D

    spread = np.unique(np.linspace(0, len(sheet) - 1, min(len(sheet), _SHEET_IMAGES)).astype(int))
    columns = min(8, len(spread))
    rows = math.ceil(len(spread) / columns)
    height, width = sheet[0].image.shape[:2]
    figure = new_figure(8.0, (8.0 / columns * height / width + 0.36) * rows + 0.4)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis('off')
    parts = []
    for axes, k in zip(cells, spread, strict=False):
        shown = sheet[k]
        axes.axis('on')
        axes.imshow(shown.image)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(
                color=PART_COLOURS.get(shown.part, OTHER),
                linewidth=3,
                linestyle=_PART_STYLES.get(shown.part, '-'),
            )
        axes.set_xlabel(
            f'{_shortened(shown.sequence)}\n{shown.part[:3]} {shown.place}'.strip(),
            fontsize=6,
            labelpad=3,
        )
        parts.append(shown.part)
    named = [part for part in (*PART_COLOURS, '') if part in parts]
    handles = [
        Line2D(
            [],
            [],
            color=PART_COLOURS.get(part, OTHER),
            ls=_PART_STYLES.get(part, '-'),
            lw=3,
            label=part or 'in no part',
        )
        for part in named
    ]
    if handles:
        figure.legend(handles=handles, loc='outside upper left', ncols=4, frameon=False)
    return to_png(figure)


def draw_atypical(frames: Sequence[AtypicalImage]) -> bytes:
    """Draw the frames that a classifier knows only with all of its weights."""
    columns = min(6, len(frames))
    rows = math.ceil(len(frames) / columns)
    height, width = frames[0].image.shape[:2]
    figure = new_figure(8.0, (8.0 / columns * height / width + 0.42) * rows)
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in cells:
        axes.axis('off')
    for axes, one in zip(cells, frames, strict=False):
        axes.axis('on')
        axes.imshow(one.image)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(
            f'{_shortened(one.place, 26)}\n{_shortened(one.label)}: {one.masked:.2g} '
            f'({one.plain:.2g})',
            fontsize=6,
            labelpad=3,
        )
    return to_png(figure)


def _shortened(name: str, most: int = 18) -> str:
    """Keep the end of a name, which tells sequences apart."""
    return name if len(name) <= most else '…' + name[1 - most :]


def draw_examples(examples: Mapping[str, npt.NDArray[np.uint8]]) -> bytes:
    """Draw pictures side by side, a column a kind."""
    rows = min([2, *map(len, examples.values())])
    figure = new_figure(8.0, 8.0 / len(examples) * rows + 0.35)
    cells = figure.subplots(rows, len(examples), squeeze=False)
    for column, (kind, images) in enumerate(examples.items()):
        picked = np.linspace(0, len(images) - 1, rows + 2).astype(int)[1:-1]
        for axes, k in zip(cells[:, column], picked, strict=True):
            axes.imshow(images[k])
            axes.set(xticks=[], yticks=[])
        cells[0, column].set_title(kind, fontsize=10)
    return to_png(figure)
