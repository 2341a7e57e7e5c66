"""Scores in-distribution and other images, and says how well the scores tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.folders import list_folder, Progress, score_folder, ScoredFolder
from ros_ood_monitor.metrics import (
    aupr,
    auroc,
    auroc_interval,
    fpr95_id_positive,
    fpr95_ood_positive,
    Interval,
    share_over,
)
from ros_ood_monitor.preprocess import Preprocessor

__all__ = ['Evaluation', 'Row', 'evaluate']


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
    seed: int
    resamples: int


def evaluate(
    bundle: Bundle,
    engine: Engine,
    *,
    images: str | Path,
    ood: Sequence[str | Path],
    precision: str | None = None,
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
        Folder of in-distribution images that nothing was fitted to.
    ood : sequence of str or Path
        Folders of out-of-distribution images, at least one. How near or far they are is for
        their names to say.
    precision : str, optional
        The precision the engine runs; the bundle's first one where it is not given.
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
        If a folder is missing, is a bag, or holds no readable image, or if folders share files.
    EngineError
        If the engine fails.

    """
    folders = [Path(images), *map(Path, ood)]
    if len(folders) < 2:
        msg = 'evaluation needs at least one out-of-distribution folder, got none'
        raise ParameterError(msg)
    listed = [list_folder(folder) for folder in folders]
    _refuse_overlap(folders, listed)
    point = bundle.calibration(precision).operating_point
    preprocess = Preprocessor(bundle.manifest.input_height, bundle.manifest.input_width)
    sketch = bundle.trained_frames()
    id_folder, *ood_folders = (
        score_folder(
            folder, files, preprocess, engine, name=name, sketch=sketch, progress=progress
        )
        for folder, files, name in zip(folders, listed, _names(folders), strict=True)
    )
    return Evaluation(
        bundle=bundle,
        engine=engine.describe(),
        trigger=point.trigger,
        alpha=point.alpha,
        id_over_trigger=share_over(id_folder.raw_score, point.trigger),
        id_folder=id_folder,
        ood_folders=tuple(ood_folders),
        rows=tuple(_row(id_folder, one, point.trigger, seed, resamples) for one in ood_folders),
        seed=seed,
        resamples=resamples,
    )


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


def _row(known: ScoredFolder, other: ScoredFolder, trigger: float, seed: int, n: int) -> Row:
    pair = known.raw_score, other.raw_score
    return Row(
        name=other.name,
        count=len(other.files),
        auroc=auroc(*pair),
        auroc_95=auroc_interval(*pair, seed=seed, resamples=n),
        aupr=aupr(*pair),
        fpr95_id_positive=fpr95_id_positive(*pair),
        fpr95_ood_positive=fpr95_ood_positive(*pair),
        over_trigger=share_over(other.raw_score, trigger),
        file_size_auroc=auroc(known.file_bytes, other.file_bytes),
    )
