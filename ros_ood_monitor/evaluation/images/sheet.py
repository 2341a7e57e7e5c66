"""The pictures an evaluation is worst at, on one page: false alarms and misses."""

from __future__ import annotations

from collections.abc import Sequence
import math
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.images.evaluate import Evaluation
from ros_ood_monitor.evaluation.images.folders import ScoredFolder
from ros_ood_monitor.evaluation.images.truth import Truth
from ros_ood_monitor.evaluation.timeline import check_plot
from ros_ood_monitor.images import read_image
from ros_ood_monitor.maps.colours import CALIBRATED
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.maps.overlay import overlay
from ros_ood_monitor.preprocess import Preprocessor

__all__ = ['Pick', 'save_sheet', 'worst']

_EACH: Final = 8  # pictures of either kind: two rows of four
_COLUMNS: Final = 4
_WRONG, _RIGHT, _TRUTH = '#D55E00', '#0072B2', '#56B4E9'  # Okabe and Ito's
_DPI: Final = 120


class Pick(NamedTuple):
    """A picture on the sheet: its folder, its number there, and its score."""

    folder: ScoredFolder
    number: int
    raw_score: float


def worst(evaluation: Evaluation, count: int = _EACH) -> tuple[list[Pick], list[Pick]]:
    """
    Return the pictures that an evaluation is worst at.

    Parameters
    ----------
    evaluation : Evaluation
        What `evaluate` found.
    count : int, default 8
        How many of either kind.

    Returns
    -------
    tuple of list of Pick
        The in-distribution pictures with the highest scores, highest first; and the other ones
        with the lowest, lowest first. Whether they are over the trigger is not asked.

    """
    false_alarms = sorted(_picks([evaluation.id_folder]), key=lambda pick: -pick.raw_score)
    misses = sorted(_picks(evaluation.ood_folders), key=lambda pick: pick.raw_score)
    return false_alarms[:count], misses[:count]


def _picks(folders: Sequence[ScoredFolder]) -> list[Pick]:
    return [
        Pick(folder, number, raw_score)
        for folder in folders
        for number, raw_score in enumerate(folder.raw_score.tolist())
    ]


def save_sheet(path: Path | str, evaluation: Evaluation) -> None:
    """
    Draw the contact sheet into a file, written aside and renamed.

    Where there are maps they are laid over the pictures as a robot shows them, on the bundle's own
    scale; where masks or boxes are known, the anomalous regions are outlined.

    Parameters
    ----------
    path : Path or str
        File to make; see ``PLOT_SUFFIXES``.
    evaluation : Evaluation
        What `evaluate` found; its pictures are read again.

    Raises
    ------
    ParameterError
        If the suffix is unknown, the file cannot be written, or matplotlib cannot be imported.
    DecodeError
        If a picture cannot be read any more.

    """
    path = check_plot(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts = worst(evaluation)
    rows = [math.ceil(len(picks) / _COLUMNS) for picks in parts]
    shapes = [pick.folder.shapes[pick.number] for picks in parts for pick in picks]
    tall = max(min(2.0, height / width) for height, width in shapes)
    size = 10.8, (2.6 * tall + 0.6) * sum(rows) + 1.1
    figure = Figure(figsize=size, dpi=_DPI, layout='constrained')
    FigureCanvasAgg(figure)  # draws without a display, whatever the user's settings say
    titles = _titles(evaluation)
    note = _legend(evaluation)
    if note:
        figure.text(0.99, 0.003, note, fontsize=8, ha='right', va='bottom')
    panels: Any = figure.subfigures(2, 1, height_ratios=rows)
    for panel, picks, title, count in zip(panels, parts, titles, rows, strict=True):
        panel.suptitle(title, fontsize=12, x=0.01, ha='left', weight='bold')
        cells = panel.subplots(count, _COLUMNS, squeeze=False).ravel()
        for axes in cells[len(picks) :]:
            axes.axis('off')
        for axes, pick in zip(cells, picks, strict=False):
            _draw(axes, pick, evaluation)
    try:
        with new_file(path) as aside:
            # no line about the software: equal data give equal bytes
            figure.savefig(aside, metadata={'Software': None} if path.suffix == '.png' else None)
    except OSError as error:
        msg = f'contact sheet could not be written ({error.strerror or error}): {path}'
        raise ParameterError(msg) from error


def _titles(evaluation: Evaluation) -> tuple[str, str]:
    trigger, known = evaluation.trigger, evaluation.id_folder
    flagged = int(np.count_nonzero(known.raw_score > trigger))
    others = np.concatenate([folder.raw_score for folder in evaluation.ood_folders])
    missed = int(np.count_nonzero(others <= trigger))
    return (
        f'In-distribution ({known.name}), highest scores: '
        f'{flagged} of {known.raw_score.size} are false alarms',
        f'Out-of-distribution, lowest scores: {missed} of {others.size} are missed',
    )


def _legend(evaluation: Evaluation) -> str:
    kinds = sorted({truth.what for truth in evaluation.truths if truth is not None})
    parts = ["coloured, and outlined in white over its threshold: the bundle's map"]
    return '; '.join(
        [
            *(parts if evaluation.maps is not None else []),
            *(f'in light blue: {kind}' for kind in kinds),
        ]
    )


def _draw(axes: Any, pick: Pick, evaluation: Evaluation) -> None:
    folder, number, raw_score = pick
    file = folder.files[number]
    rgb = read_image(folder.path / file)
    if evaluation.maps is not None:
        manifest = evaluation.bundle.manifest
        preprocess = Preprocessor(manifest.input_height, manifest.input_width)
        mapper = Mapper(preprocess, evaluation.maps.calibration)
        heat = mapper(folder.patch_score[number], folder.shapes[number])
        rgb = overlay(rgb, heat, CALIBRATED)  # as a robot shows it
    truth = _truth_of(folder, evaluation)
    if truth is not None:
        mask = truth.mask(file, *folder.shapes[number])
        height, width = rgb.shape[:2]  # an overlay of a small picture is enlarged
        axes.contour(
            *_centres(mask, height, width), mask, levels=[0.5], colors=_TRUTH, linewidths=1.2
        )
    axes.imshow(rgb, interpolation='antialiased')
    axes.set(xticks=[], yticks=[])
    over = raw_score > evaluation.trigger
    wrong = over == (folder is evaluation.id_folder)
    for spine in axes.spines.values():
        spine.set(color=_WRONG if wrong else _RIGHT, linewidth=2.5)
    axes.set_title(_shortened(f'{folder.name}/{file}'), fontsize=8, loc='left')
    word = 'over' if over else 'under'
    axes.set_xlabel(
        f'{raw_score:.4g}, {word} the trigger {evaluation.trigger:.4g}',
        fontsize=8, color=_WRONG if wrong else _RIGHT,
    )  # fmt: skip


def _truth_of(folder: ScoredFolder, evaluation: Evaluation) -> Truth | None:
    for other, truth in zip(evaluation.ood_folders, evaluation.truths, strict=True):
        if other is folder:
            return truth
    return None


def _centres(
    mask: npt.NDArray[np.bool_], height: int, width: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return where the mask's columns and rows lie in a picture that shows it enlarged."""
    x, y = (
        (np.arange(given) + 0.5) * shown / given - 0.5
        for given, shown in zip(mask.shape[::-1], (width, height), strict=True)
    )
    return x, y


def _shortened(name: str, at_most: int = 36) -> str:
    return name if len(name) <= at_most else f'...{name[3 - at_most :]}'
