"""Scores in-distribution and other images, and says how well the scores tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.evaluation.images.folders import (
    LEAST_PICTURES,
    Progress,
    score_folder,
    ScoredFolder,
)
from ros_ood_monitor.evaluation.images.image_sets import find_image_sets
from ros_ood_monitor.evaluation.images.map_figures import MapFigures, measure_maps
from ros_ood_monitor.evaluation.images.pixels import evaluate_pixels, PixelEvaluation
from ros_ood_monitor.evaluation.images.truth import Truth
from ros_ood_monitor.maps.mapper import Mapper
from ros_ood_monitor.metrics import (
    aupr,
    aupr_interval,
    auroc,
    auroc_interval,
    fpr95_id_positive,
    fpr95_ood_positive,
    Interval,
    share_over,
)
from ros_ood_monitor.preprocess import Preprocessor

__all__ = ['Evaluation', 'Row', 'evaluate']

_NO_MAPS: Final = (
    'pixel metrics need a bundle with maps: this one has no patch_score, so that the masks or '
    'boxes were not used'
)
_NO_TRUTH: Final = 'no pixel metrics: neither masks nor boxes were given'
_NO_CALIBRATION: Final = (
    "the bundle does not say what its maps' values mean: a robot shows no map of it"
)


@dataclass(frozen=True)
class Row:
    """
    How one out-of-distribution folder separates from the in-distribution one.

    Parameters
    ----------
    name : str
        The out-of-distribution folder.
    count : int
        Its scored images.
    auroc, aupr : float
        Out-of-distribution positive; higher is better.
    auroc_95 : Interval or None
        95 % bootstrap interval of ``auroc``; none of fewer pictures than `LEAST_PICTURES` of a
        class.
    fpr95_id_positive : float
        Share of this folder accepted when 95 % of in-distribution is accepted.
    aupr_95 : Interval or None
        95 % bootstrap interval of ``aupr``, likewise.
    fpr95_ood_positive : float
        Share of in-distribution flagged when 95 % of this folder is flagged.
    over_trigger : float
        Share of this folder over the bundle's trigger threshold.
    file_size_auroc : float
        AUROC of the file size in place of raw_score. Far from 0.5, the two folders differ in
        format or compression too, and the other numbers may owe something to that.

    """

    name: str
    count: int
    auroc: float
    auroc_95: Interval | None
    aupr: float
    aupr_95: Interval | None
    fpr95_id_positive: float
    fpr95_ood_positive: float
    over_trigger: float
    file_size_auroc: float

    @property
    def is_lost_at_trigger(self) -> bool:
        """Return whether less than half of what a threshold could find is over the trigger."""
        findable = 1.0 - self.fpr95_id_positive
        return findable >= 0.5 and self.over_trigger < 0.5 * findable


@dataclass(frozen=True, eq=False)
class Evaluation:
    """
    What `evaluate` found.

    Parameters
    ----------
    bundle : Bundle
        What was evaluated.
    engine : dict of str to str
        What it ran on; see `Engine.describe`.
    calibration : Calibration
        The bundle's, of the precision that it ran in.
    trigger : float
        The bundle's trigger threshold on raw_score.
    alpha : float
        Share of in-distribution frames that the trigger was set for.
    id_over_trigger : float
        Share of the in-distribution images over it here.
    id_folder : ScoredFolder
        The in-distribution images.
    ood_folders : tuple of ScoredFolder
        The others.
    rows : tuple of Row
        One for each of the others, in the same order.
    overall : Row
        The others as one.
    pixels : PixelEvaluation or None
        How well maps find the anomalous pixels, where there are maps, and masks or boxes.
    maps : MapFigures or None
        What the map shows at the bundle's own threshold, where there are maps.
    map_notes : tuple of str
        What was missing for ``pixels`` and ``maps``.
    truths : tuple of Truth or None
        What is known about the places of the anomalies in each of the others.
    seed, resamples : int
        How the intervals were drawn.

    """

    bundle: Bundle
    engine: dict[str, str]
    calibration: Calibration
    trigger: float
    alpha: float
    id_over_trigger: float
    id_folder: ScoredFolder
    ood_folders: tuple[ScoredFolder, ...]
    rows: tuple[Row, ...]
    overall: Row
    pixels: PixelEvaluation | None
    maps: MapFigures | None
    map_notes: tuple[str, ...]
    truths: tuple[Truth | None, ...]
    seed: int
    resamples: int


def evaluate(
    bundle: Bundle,
    engine: Engine,
    *,
    images: str | Path,
    ood: Sequence[str | Path] = (),
    masks: str | Path | None = None,
    boxes: str | Path | None = None,
    seed: int = 0,
    resamples: int = 1000,
    progress: Progress | None = None,
) -> Evaluation:
    """
    Evaluate a bundle on folders of images.

    Parameters
    ----------
    bundle : Bundle
        What was trained.
    engine : Engine
        The bundle, opened on this device.
    images : str or Path
        Folder of in-distribution images that nothing was fitted to; or a category in the MVTec
        layout, whose ``test/good`` they are then.
    ood : sequence of str or Path
        Folders of out-of-distribution images. How near or far they are is for their names to
        say. May be empty with the MVTec layout only, which has some in ``test/<kind>``; these
        come beside them.
    masks, boxes : str or Path, optional
        Folder of masks or of box files of the out-of-distribution images, or with a folder of
        them for each of ``ood``, by its name; the MVTec layout has masks in ``ground_truth``. They
        count where the bundle has maps.
    seed : int, default 0
        Seed of the bootstrap.
    resamples : int, default 1000
        Resamples of the bootstrap.
    progress : callable, optional
        Called with a folder's name, images done and images in all, after each image.

    Returns
    -------
    Evaluation
        Scores and metrics.

    Raises
    ------
    ParameterError
        If a folder is missing, is a bag, or holds no readable image, if folders share files, or
        if a mask or box file is missing or does not fit.
    EngineError
        If the engine fails.

    """
    sets = find_image_sets(images, ood, masks, boxes)
    calibration = bundle.calibration(engine.precision)
    point = calibration.operating_point
    preprocess = Preprocessor(bundle.manifest.input_height, bundle.manifest.input_width)
    sketch = bundle.trained_frames()
    id_folder, *ood_folders = (
        score_folder(
            folder, files, preprocess, engine, name=name, sketch=sketch, progress=progress
        )
        for folder, files, name in zip(sets.folders, sets.files, sets.names, strict=True)
    )
    pixels, maps = None, None
    parts = list(zip(ood_folders, sets.truths, strict=True))
    known = [(folder, truth) for folder, truth in parts if truth is not None]
    if id_folder.patch_score and known:
        pixels = evaluate_pixels(
            id_folder,
            [folder for folder, _ in known],
            [truth for _, truth in known],
            Mapper(preprocess),
            seed=seed,
            resamples=resamples,
        )
    if id_folder.patch_score and calibration.map is not None:
        maps = measure_maps(id_folder, ood_folders, sets.truths, preprocess, calibration.map)
    return Evaluation(
        bundle=bundle,
        engine=engine.describe(),
        calibration=calibration,
        trigger=point.trigger,
        alpha=point.alpha,
        id_over_trigger=share_over(id_folder.raw_score, point.trigger),
        id_folder=id_folder,
        ood_folders=tuple(ood_folders),
        rows=tuple(
            _row(one.name, id_folder, [one], point.trigger, seed, resamples) for one in ood_folders
        ),
        overall=_row('all', id_folder, ood_folders, point.trigger, seed, resamples),
        pixels=pixels,
        maps=maps,
        map_notes=_map_notes(bool(id_folder.patch_score), parts, calibration),
        truths=sets.truths,
        seed=seed,
        resamples=resamples,
    )


def _map_notes(
    has_maps: bool,
    parts: Sequence[tuple[ScoredFolder, Truth | None]],
    calibration: Calibration,
) -> tuple[str, ...]:
    """Return what is missing for the figures of maps."""
    without = [folder.name for folder, truth in parts if truth is None]
    if not has_maps:
        return (_NO_MAPS,) if len(without) < len(parts) else ()
    notes = [] if calibration.map is not None else [_NO_CALIBRATION]
    if len(without) == len(parts):
        notes.append(_NO_TRUTH)
    elif without:
        notes.append(f'pixel metrics leave out {", ".join(without)}: neither masks nor boxes')
    return tuple(notes)


def _row(
    name: str,
    known: ScoredFolder,
    others: Sequence[ScoredFolder],
    trigger: float,
    seed: int,
    resamples: int,
) -> Row:
    raw_score = np.concatenate([other.raw_score for other in others])
    file_bytes = np.concatenate([other.file_bytes for other in others])
    pair = known.raw_score, raw_score
    enough = min(known.raw_score.size, raw_score.size) >= LEAST_PICTURES
    return Row(
        name=name,
        count=raw_score.size,
        auroc=auroc(*pair),
        auroc_95=auroc_interval(*pair, seed=seed, resamples=resamples) if enough else None,
        aupr=aupr(*pair),
        aupr_95=aupr_interval(*pair, seed=seed, resamples=resamples) if enough else None,
        fpr95_id_positive=fpr95_id_positive(*pair),
        fpr95_ood_positive=fpr95_ood_positive(*pair),
        over_trigger=share_over(raw_score, trigger),
        file_size_auroc=auroc(known.file_bytes, file_bytes),
    )
