"""Scores in-distribution and other images, and says how well the scores tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.boxes import BoxFolder
from ros_ood_monitor.evaluation.folders import list_folder, Progress, score_folder, ScoredFolder
from ros_ood_monitor.evaluation.masks import MaskFolder
from ros_ood_monitor.evaluation.mvtec import mvtec_layout
from ros_ood_monitor.evaluation.pixels import evaluate_pixels, PixelEvaluation
from ros_ood_monitor.evaluation.truth import part_of, Truth
from ros_ood_monitor.mapper import Mapper
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
    auroc_95 : Interval
        95 % bootstrap interval of ``auroc``.
    fpr95_id_positive : float
        Share of this folder accepted when 95 % of in-distribution is accepted.
    aupr_95 : Interval
        95 % bootstrap interval of ``aupr``.
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
    auroc_95: Interval
    aupr: float
    aupr_95: Interval
    fpr95_id_positive: float
    fpr95_ood_positive: float
    over_trigger: float
    file_size_auroc: float


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
    pixel_note : str
        What of the two was missing, where only one is there.
    truths : tuple of Truth
        What is known about the places of the anomalies in each of the others, or empty.
    seed, resamples : int
        How the intervals were drawn.

    """

    bundle: Bundle
    engine: dict[str, str]
    trigger: float
    alpha: float
    id_over_trigger: float
    id_folder: ScoredFolder
    ood_folders: tuple[ScoredFolder, ...]
    rows: tuple[Row, ...]
    overall: Row
    pixels: PixelEvaluation | None
    pixel_note: str
    truths: tuple[Truth, ...]
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
        say. May be empty with the MVTec layout only, which has them in ``test/<kind>``.
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
    folders, truth_root = _folders(Path(images), [Path(one) for one in ood], masks, boxes)
    listed = [list_folder(folder) for folder in folders]
    _refuse_overlap(folders, listed)
    kind = MaskFolder if boxes is None else BoxFolder
    truths: list[Truth] = []
    if truth_root is not None:
        for folder, files in zip(folders[1:], listed[1:], strict=True):
            pictures = [str(file.relative_to(folder)) for file in files]
            truths.append(kind(part_of(truth_root, folder), pictures))
    point = bundle.calibration(engine.precision).operating_point
    preprocess = Preprocessor(bundle.manifest.input_height, bundle.manifest.input_width)
    mapper = Mapper(preprocess)
    sketch = bundle.trained_frames()
    id_folder, *ood_folders = (
        score_folder(
            folder, files, preprocess, engine, name=name, sketch=sketch, progress=progress
        )
        for folder, files, name in zip(folders, listed, _names(folders), strict=True)
    )
    has_maps = bool(id_folder.patch_score)
    pixels = None
    if has_maps and truths:
        pixels = evaluate_pixels(
            id_folder, ood_folders, truths, mapper, seed=seed, resamples=resamples
        )
    return Evaluation(
        bundle=bundle,
        engine=engine.describe(),
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
        pixel_note={(True, False): _NO_TRUTH, (False, True): _NO_MAPS}.get(
            (has_maps, bool(truths)), ''
        ),
        truths=tuple(truths),
        seed=seed,
        resamples=resamples,
    )


def _folders(
    images: Path, ood: list[Path], masks: str | Path | None, boxes: str | Path | None
) -> tuple[list[Path], Path | None]:
    """Return the in-distribution folder and the others, and where masks or boxes lie."""
    if masks is not None and boxes is not None:
        msg = f'evaluation takes masks or boxes, got both: {masks} and {boxes}'
        raise ParameterError(msg)
    given = masks if boxes is None else boxes
    root = None if given is None else Path(given)
    if ood:
        return [images, *ood], root
    layout = mvtec_layout(images)
    if layout is None:
        msg = (
            'evaluation needs at least one out-of-distribution folder, or images in the MVTec '
            f"layout ('test/good' and 'test/<kind>'), got neither: {images}"
        )
        raise ParameterError(msg)
    return [layout.good, *layout.kinds], layout.masks if root is None else root


def _refuse_overlap(folders: list[Path], listed: list[list[Path]]) -> None:
    known = {file.resolve() for file in listed[0]}
    for folder, files in zip(folders[1:], listed[1:], strict=True):
        shared = sum(file.resolve() in known for file in files)
        if shared:
            msg = (
                f'{shared} files are in-distribution and out-of-distribution at once; '
                f'give folders that do not contain each other: {folders[0]} and {folder}'
            )
            raise ParameterError(msg)


def _names(folders: list[Path]) -> list[str]:
    """Return the folders' own names, or the paths as given where two names are the same."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


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
    return Row(
        name=name,
        count=raw_score.size,
        auroc=auroc(*pair),
        auroc_95=auroc_interval(*pair, seed=seed, resamples=resamples),
        aupr=aupr(*pair),
        aupr_95=aupr_interval(*pair, seed=seed, resamples=resamples),
        fpr95_id_positive=fpr95_id_positive(*pair),
        fpr95_ood_positive=fpr95_ood_positive(*pair),
        over_trigger=share_over(raw_score, trigger),
        file_size_auroc=auroc(known.file_bytes, file_bytes),
    )
