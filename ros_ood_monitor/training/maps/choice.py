"""
The detector of the map's cells, and how well each of them finds defects of known place.

Where a training is asked to choose by evidence, every detector is fitted, and the one is taken
whose maps of near pseudo-OOD (a part of another frame, a thin strip of the frame itself, pasted
into held-out frames) tell changed cells from unchanged ones best: by AUROC over the cells. Nobody
looks at a real anomaly.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics import auroc
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.fit_store import FitStore
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.maps.fit import DEFAULT, fit_map, FittedMap
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.densities import MAP_DENSITIES

__all__ = ['best_of', 'cell_auroc', 'changed_cells', 'fit_best_map']

_CHANGED: Final = 0.5
"""Share of a cell's pixels from which on it is a part of the defect."""


def fit_best_map(
    reader: FrameReader,
    table: FeatureTable,
    split: Split,
    pictures: Pictures,
    *,
    store: FitStore | None,
    progress: Progress,
) -> tuple[FittedMap, dict[str, float] | None]:
    """
    Fit what scores the cells: the detector that was asked for, or the best one.

    Parameters
    ----------
    reader : FrameReader
        Frames, backbone and plan of the map; its settings say what is asked for.
    table : FeatureTable
        All frames, with some cells of each.
    split : Split
        The three parts.
    pictures : Pictures
        What pseudo-OOD is made from.
    store : FitStore or None
        Where fitted flows are kept, by what the features depend on.
    progress : Progress
        What shows progress.

    Returns
    -------
    fitted : FittedMap
        What was taken.
    choice : dict of str to float, or None
        AUROC of cells by detector, where it was chosen; NaN where pasted defects cover no cell by
        half, so that none could be judged.

    Raises
    ------
    TrainingError
        If a detector cannot be fitted.

    """
    assert reader.plan is not None
    plan, settings = reader.plan, reader.settings
    wanted = settings.map_density
    choosing = wanted == 'auto' and settings.density == 'evidence'
    kinds = MAP_DENSITIES[1:] if choosing else (DEFAULT if wanted == 'auto' else wanted,)
    fitted = {}
    for kind in kinds:
        progress.note(f'fitting the map, {kind}')
        fitted[kind] = fit_map(
            table,
            split,
            settings,
            plan,
            density=kind,
            score=lambda cells, rows: reader.cell_scores(cells, table, rows),
            store=store,
        )
    if not choosing:
        return fitted[kinds[0]], None
    defects = np.concatenate(list(pictures.near(seed=settings.seed).values()))
    # a picture of each source in every round of every kind
    rounds = len(defects) // len(pictures.sources)
    changed = changed_cells(defects, np.concatenate([pictures.sources] * rounds), plan.grid)
    found = {
        kind: cell_auroc(reader.cell_maps(one.cells, defects), changed)
        for kind, one in fitted.items()
    }
    return fitted[best_of(found)], found


def best_of(found: Mapping[str, float]) -> str:
    """
    Return the detector with the highest AUROC.

    Parameters
    ----------
    found : mapping of str to float
        AUROC of cells by detector; NaN where it is not known.

    Returns
    -------
    str
        The default on a tie, and where no AUROC is known.

    """
    known = {kind: area for kind, area in found.items() if not math.isnan(area)}
    return max(known, key=lambda kind: (known[kind], kind == DEFAULT), default=DEFAULT)


def changed_cells(
    made: npt.NDArray[np.uint8], sources: npt.NDArray[np.uint8], grid: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """
    Return what share of each cell's pixels a defect changed.

    Parameters
    ----------
    made, sources : ndarray of shape (k, h, w, 3), uint8
        Pictures with a defect, and those that they were made from.
    grid : tuple of int
        Height and width of the map.

    Returns
    -------
    ndarray of shape (k, gh, gw), float32
        In [0, 1].

    """
    height, width = grid
    return np.stack(
        [
            cv2.resize(
                (one != other).any(axis=2).astype(np.float32),
                (width, height),
                interpolation=cv2.INTER_AREA,
            )
            for one, other in zip(made, sources, strict=True)
        ]
    )


def cell_auroc(patch_score: npt.NDArray[np.float32], changed: npt.NDArray[np.float32]) -> float:
    """
    Return how well maps tell changed cells from unchanged ones.

    Parameters
    ----------
    patch_score, changed : ndarray of shape (k, gh, gw), float32
        Maps, and what share of each cell was changed; cells of which it was less than half are
        left out.

    Returns
    -------
    float
        AUROC over all cells; NaN where no cell was changed by half.

    """
    normal, strange = patch_score[changed == 0.0], patch_score[changed >= _CHANGED]
    if not normal.size or not strange.size:
        return float('nan')
    return auroc(normal.astype(np.float64), strange.astype(np.float64))
