"""
The backbone study: tolerance and uniformity of every tap beside what detectors reach on it.

Taps of several backbones are compared on the same pictures. Nothing is chosen by what is found:
the detectors have nothing to tune, and fit and test part never hold the same file.

References
----------
Cook, Lavoie, Waslander (2024), Feature density estimation for out-of-distribution detection via
normalizing flows, arXiv:2402.06537.

"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import tempfile
import time
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import ParameterError, TrainingError
from ros_ood_monitor.images import read_image
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import (
    Backbone,
    BackboneTap,
    load_backbone,
    tap_columns,
)
from ros_ood_monitor.training.detectors.normalization import Normalization
from ros_ood_monitor.training.export.graphs import export_backbone, prove_backbone
from ros_ood_monitor.training.features.runners import OnnxRunner
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.rows import TapRows
from ros_ood_monitor.training.study.detectors import Detectors, separate, Separation
from ros_ood_monitor.training.study.geometry import tolerance, uniformity
from ros_ood_monitor.training.study.labelled import (
    list_pictures,
    Pictures,
    refuse_shared,
    split_parts,
)

__all__ = ['FIT_SHARE', 'Point', 'Study', 'study_backbones']

FIT_SHARE = 0.7
"""Of each class, where fit and test part come from one folder."""

_Index: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Point:
    """
    One tap of one backbone.

    Parameters
    ----------
    backbone : str
        As it was asked for.
    tap : str
        Its name.
    deepest : bool
        Whether it is the last tap of its backbone: the penultimate features.
    channels : int
        Width of the features.
    tolerance : float or None
        None where the pictures have no labels.
    uniformity : float
        Higher is more even.
    separation : dict
        `Separation` by detector, then by OOD folder.

    """

    backbone: str
    tap: str
    deepest: bool
    channels: int
    tolerance: float | None
    uniformity: float
    separation: dict[str, dict[str, Separation]]


@dataclass(frozen=True, eq=False)
class Study:
    """
    What `study_backbones` found.

    Parameters
    ----------
    known : Pictures
        In-distribution ones that are tested, and looked at for tolerance and uniformity.
    fit : Pictures or None
        Those fitted to, where they are a folder of their own.
    ood : dict of str to Pictures
        Out-of-distribution folders by the name that tables call them.
    splits : list of tuple of int
        Pictures in the fit and in the test part.
    backbones : list of dict
        Facts of each: weights, digest, licence, input size, seconds.
    points : list of Point
        In the order of the backbones and their taps.

    """

    known: Pictures
    fit: Pictures | None
    ood: dict[str, Pictures]
    splits: list[tuple[int, int]]
    backbones: list[dict[str, Any]]
    points: list[Point]


def study_backbones(
    data: Path | str,
    ood: Sequence[Path | str],
    backbones: Sequence[str],
    *,
    taps: Sequence[str] | str = 'all',
    fit_data: Path | str | None = None,
    limit: int = 0,
    splits: int = 5,
    seed: int = 0,
    threads: int = 1,
    progress: Progress | None = None,
) -> Study:
    """
    Compare taps of backbones.

    Parameters
    ----------
    data : Path or str
        In-distribution pictures, one folder per class; without such folders there is no tolerance.
    ood : sequence of Path or str
        Folders of out-of-distribution pictures.
    backbones : sequence of str
        Names that `load_backbone` knows.
    taps : sequence of str, or 'all'
        Names of taps, looked for in every backbone.
    fit_data : Path or str, optional
        In-distribution pictures to fit to; then all of ``data`` is tested, in one split.
    limit : int, default 0
        Pictures taken from each folder at most; 0 takes all.
    splits : int, default 5
        How often ``data`` is split anew into a fit and a test part.
    seed : int, default 0
        Of the splits; split k has seed + k.
    threads : int, default 1
        Of ONNX Runtime.
    progress : Progress, optional
        What shows progress; nothing by default.

    Returns
    -------
    Study
        A point for every tap of every backbone.

    Raises
    ------
    ParameterError
        If folders do not fit together, or hold too little.
    TrainingError
        If a backbone or a tap is unknown, or a feature is not finite.
    EngineError
        If ONNX Runtime computes anything else than the backbone's own library.

    """
    progress = progress or Progress(quiet=True)
    if not backbones or len(set(backbones)) != len(backbones):
        msg = f'expected names of different backbones, got {list(backbones)}'
        raise ParameterError(msg)
    named = _named(ood)
    for name in backbones:  # before hours of work for those in front of a wrong one
        load_backbone(name).select(taps)
    known = list_pictures(data, limit=limit, labelled=True)
    fit = list_pictures(fit_data, limit=limit) if fit_data is not None else None
    others = {name: list_pictures(folder, limit=limit) for name, folder in named.items()}
    for other in others.values():
        refuse_shared(known, other)
    if fit is None:
        parts = [split_parts(known.labels, share=FIT_SHARE, seed=seed + k) for k in range(splits)]
    else:
        for other in (known, *others.values()):
            refuse_shared(fit, other)
        parts = [(np.arange(len(fit.files)), np.arange(len(known.files)))]
    points: list[Point] = []
    facts: list[dict[str, Any]] = []
    for name in backbones:
        found, fact = _study_one(name, taps, known, fit, others, parts, threads, progress)
        points += found
        facts.append(fact)
    sizes = [(len(fitted), len(tested)) for fitted, tested in parts]
    return Study(known, fit, others, sizes, facts, points)


def _named(folders: Sequence[Path | str]) -> dict[str, Path]:
    """Return folders by their own names, or by the paths as given where two are the same."""
    paths = [Path(folder) for folder in folders]
    if not paths or len({path.resolve() for path in paths}) != len(paths):
        msg = f'expected different out-of-distribution folders, got {list(map(str, paths))}'
        raise ParameterError(msg)
    short = [path.resolve().name for path in paths]
    names = short if len(set(short)) == len(short) else list(map(str, paths))
    return dict(zip(names, paths, strict=True))


def _study_one(
    name: str,
    selected: Sequence[str] | str,
    known: Pictures,
    fit: Pictures | None,
    ood: dict[str, Pictures],
    parts: Sequence[tuple[_Index, _Index]],
    threads: int,
    progress: Progress,
) -> tuple[list[Point], dict[str, Any]]:
    clock = [time.perf_counter()]
    backbone = load_backbone(name)
    taps = backbone.select(selected)
    session = _open(backbone, taps, known, threads)
    clock.append(time.perf_counter())
    width = sum(tap.channels for tap in taps)
    folders = {'known': known, **({} if fit is None else {'fit': fit})}
    folders |= {f'ood {key}': pictures for key, pictures in ood.items()}
    tables = {
        key: _extract(pictures, session, backbone, taps, width, f'{name} {key}', progress)
        for key, pictures in folders.items()
    }
    clock.append(time.perf_counter())
    columns = tap_columns(taps)
    points = [
        _point(name, backbone, tap, columns[tap.name], tables, known, list(ood), parts)
        for tap in taps
    ]
    clock.append(time.perf_counter())
    count = sum(len(pictures.files) for pictures in folders.values())
    load, features, judge = np.diff(clock).tolist()
    return points, {
        'name': name,
        'weights': backbone.weights,
        'weights_sha256': backbone.weights_sha256,
        'licence': backbone.licence,
        'input_size': list(backbone.input_size),
        'pictures': count,
        'seconds': {'load_and_export': load, 'features': features, 'detectors': judge},
    }


def _point(
    name: str,
    backbone: Backbone,
    tap: BackboneTap,
    columns: slice,
    tables: dict[str, npt.NDArray[np.float32]],
    known: Pictures,
    ood: Sequence[str],
    parts: Sequence[tuple[_Index, _Index]],
) -> Point:
    def rows(key: str, index: _Index | None = None) -> TapRows:
        everything = np.arange(len(tables[key]), dtype=np.int64)
        index = everything if index is None else index
        return TapRows(tables[key], index, columns, Normalization())

    source = 'fit' if 'fit' in tables else 'known'
    others = {key: rows(f'ood {key}') for key in ood}
    separation = separate(
        (Detectors(rows(source, fitted)), rows('known', tested), others)
        for fitted, tested in parts
    )
    directions = rows('known')[np.arange(len(known.files))]  # (n, D)
    return Point(
        backbone=name,
        tap=tap.name,
        deepest=tap.name == backbone.taps[-1].name,
        channels=tap.channels,
        tolerance=tolerance(directions, known.labels) if known.classes else None,
        uniformity=uniformity(directions),
        separation=separation,
    )


def _open(backbone: Backbone, taps: Sequence[BackboneTap], known: Pictures, threads: int) -> Any:
    preprocess = Preprocessor(*backbone.input_size)
    session = open_session(export_backbone(backbone, taps, *backbone.input_size), threads=threads)
    few = np.concatenate([preprocess(read_image(file)) for file in known.files[:2]])
    prove_backbone(session, backbone, taps, few)
    return session


def _extract(
    pictures: Pictures,
    session: Any,
    backbone: Backbone,
    taps: Sequence[BackboneTap],
    width: int,
    title: str,
    progress: Progress,
) -> npt.NDArray[np.float32]:
    """Return the features of all taps side by side, as a map of a file without a name."""
    preprocess = Preprocessor(*backbone.input_size)
    run = OnnxRunner(session, taps)
    count = len(pictures.files)
    try:
        with tempfile.TemporaryFile(prefix='ood_monitor_study.') as spool:
            spool.truncate(count * width * 4)
            table = np.memmap(spool, np.float32, 'r+', shape=(count, width))
    except OSError as error:
        msg = (
            f'features could not be spooled ({error.strerror or error}); '
            f'set TMPDIR to a folder with room: {tempfile.gettempdir()}'
        )
        raise TrainingError(msg) from error
    files = progress.over(pictures.files, total=count, name=title, unit='picture')
    for k, file in enumerate(files):
        table[k] = run(preprocess(read_image(file)))[0]  # (width,)
        if not np.all(np.isfinite(table[k])):
            msg = f'features are not finite: check the picture: {file}'
            raise TrainingError(msg)
    return table
