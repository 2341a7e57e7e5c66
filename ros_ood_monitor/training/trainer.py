"""From frames to a bundle; `train` reads like the way it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import copy
from dataclasses import dataclass
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import BundleError, EngineError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import BackboneTap, load_backbone
from ros_ood_monitor.training.calibrate import (
    deployed_scores,
    golden_images,
    make_goldens,
    standardisation,
)
from ros_ood_monitor.training.card import make_manifest, training_card
from ros_ood_monitor.training.datasets import Dataset, Skipped
from ros_ood_monitor.training.export import (
    check_backbone,
    check_scorer,
    export_backbone,
    export_scorer,
)
from ros_ood_monitor.training.features import extract, FeatureTable, normalize
from ros_ood_monitor.training.fit import choose_density, fit_density, FitRecord
from ros_ood_monitor.training.folded import Density
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.scorer import Scorer
from ros_ood_monitor.training.settings import TrainSettings
from ros_ood_monitor.training.split import check_count, Split, split_frames

__all__ = ['FittedTap', 'TrainResult', 'train']

_RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class FittedTap:
    """A tap, what was fitted to it, and how long that took in s."""

    tap: BackboneTap
    record: FitRecord
    seconds: float


@dataclass(frozen=True, eq=False)
class TrainResult:
    """
    What `train` hands back.

    Parameters
    ----------
    bundle : Bundle
        Loaded from where it was written.
    taps : list of FittedTap
        One row of the summary each.
    split : Split
        The three parts.
    skipped : list of Skipped
        Frames that did not decode.
    missing : list of str
        Files that bags lack, and damaged ones.
    raw_score : ndarray of shape (k,), float64
        Of the calibration frames.

    """

    bundle: Bundle
    taps: list[FittedTap]
    split: Split
    skipped: list[Skipped]
    missing: list[str]
    raw_score: npt.NDArray[np.float64]


def train(
    settings: TrainSettings,
    out: Path | str,
    *,
    name: str = '',
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainResult:
    """
    Train a bundle.

    Parameters
    ----------
    settings : TrainSettings
        What decides the result: equal settings and frames give an equal digest on one machine.
    out : Path or str
        Folder of the bundle; written as the last step, whole or not at all.
    name : str
        Of the bundle; the folder's name by default.
    overwrite : bool, default False
        Whether an existing bundle there is replaced.
    progress : Progress, optional
        What shows progress; nothing by default.

    Returns
    -------
    TrainResult
        The bundle and the facts of its training.

    Raises
    ------
    TrainingError
        If the data or a setting does not allow it.
    BagError, ParameterError
        If a bag or a topic cannot be read.
    CalibrationError
        If alpha is outside (0, 1).
    EngineError
        If ONNX Runtime computes anything else than torch.
    BundleError
        If the output exists or cannot be written.

    """
    out = Path(out)
    progress = progress or Progress(quiet=True)
    _check_target(out, overwrite=overwrite)
    settings.check()
    with _reproducible(settings.threads):
        backbone = load_backbone()
        taps = backbone.select(settings.taps)
        dataset = Dataset(settings.data, topics=settings.topics, every=settings.every)
        count = dataset.count()
        check_count(count, settings.alpha)
        progress.note('exporting the backbone')
        preprocess = Preprocessor(*settings.input_size)
        backbone_onnx = export_backbone(backbone, taps, *settings.input_size)
        frames = progress.over(dataset.frames(), total=count, name='features', unit='frame')
        table = extract(
            frames, open_session(backbone_onnx, threads=settings.threads), preprocess, taps
        )
        split = split_frames(
            table.sequence,
            rule=settings.split,
            alpha=settings.alpha,
            by_sequence=dataset.has_only_bags,
            seed=settings.seed,
        )
        densities, fitted = _fit(table, taps, split, settings, progress)
        scorer, standards = _make_scorer(table, taps, split, densities)
        scorer_onnx = export_scorer(copy.deepcopy(scorer).float(), taps)

        progress.note('calibrating and checking the bundle')
        # from here on everything is computed the way the robot computes it
        deployed_backbone, deployed_scorer = open_session(backbone_onnx), open_session(scorer_onnx)
        raw_score = deployed_scores(deployed_scorer, taps, table, split.calibration)
        calibration = Calibration.fit(
            raw_score, alpha=settings.alpha, frame_rate_hz=table.frame_rate_hz()
        )
        tolerance = (max(0.01 * float(raw_score.std()), 1e-6), _RELATIVE_TOLERANCE)
        images = golden_images(table, split, seed=settings.seed)
        check_backbone(deployed_backbone, backbone, taps, images)
        seen = deployed_backbone.run([tap.output for tap in taps], {'image': images})
        check_scorer(deployed_scorer, scorer, taps, seen, tolerance=tolerance)
        goldens = make_goldens(deployed_backbone, deployed_scorer, taps, images)
        records = [row.record for row in fitted]
        manifest = make_manifest(
            name=name or out.name,
            backbone=backbone,
            taps=taps,
            records=records,
            preprocess=preprocess,
            tolerance=tolerance,
            training=training_card(
                dataset=dataset,
                split=split,
                data_sha256=table.data_sha256,
                settings=settings.card(),
                taps=taps,
                records=records,
                standards=standards,
            ),
            data_licence=settings.data_licence,
        )
        files = {
            'backbone.fp32.onnx': backbone_onnx,
            'scorer.onnx': scorer_onnx,
            'calibration.fp32.npz': calibration.to_bytes(),
            'goldens.fp32.npz': goldens.to_bytes(),
        }
        _prove(manifest, files)
        bundle = write_bundle(out, manifest=manifest, files=files, overwrite=overwrite)
    return TrainResult(bundle, fitted, split, dataset.skipped, dataset.missing, raw_score)


def _check_target(out: Path, *, overwrite: bool) -> None:
    """Refuse now what writing would refuse after all the work."""
    if out.exists() and not overwrite:
        msg = f'output exists already; choose another name or pass --overwrite: {out}'
        raise BundleError(msg)
    if out.is_file() or (
        out.is_dir() and any(out.iterdir()) and not (out / 'manifest.yaml').is_file()
    ):
        msg = f'output exists and is no bundle, so it is not replaced: {out}'
        raise BundleError(msg)
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        msg = f'output cannot be written: no permission to write in {parent}: {out}'
        raise BundleError(msg)


@contextlib.contextmanager
def _reproducible(threads: int) -> Iterator[None]:
    """Fix what makes torch's sums depend on the moment, and put it back afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(mode=before[1])


def _fit(
    table: FeatureTable,
    taps: Sequence[BackboneTap],
    split: Split,
    settings: TrainSettings,
    progress: Progress,
) -> tuple[list[Density], list[FittedTap]]:
    densities, fitted = [], []
    for k, tap in enumerate(taps):
        started = time.perf_counter()
        kind = choose_density(settings.density, tap.channels)
        title = f'{kind} {tap.name} ({k + 1}/{len(taps)})'
        total, unit = (settings.flow.steps, 'step') if kind == 'flow' else (1, 'fit')
        with progress.steps(total=total, name=title, unit=unit) as show:
            density, record = fit_density(
                kind,
                normalize(table.of(tap, split.fit)),
                normalize(table.of(tap, split.validation)),
                settings=settings.flow,
                seed=settings.seed,
                on_progress=show,
            )
        densities.append(density)
        fitted.append(FittedTap(tap, record, time.perf_counter() - started))
    return densities, fitted


def _make_scorer(
    table: FeatureTable,
    taps: Sequence[BackboneTap],
    split: Split,
    densities: Sequence[Density],
) -> tuple[Scorer, list[tuple[float, float]]]:
    standards = []
    with torch.no_grad():
        for tap, density in zip(taps, densities, strict=True):
            features = torch.from_numpy(normalize(table.of(tap, split.validation))).double()
            standards.append(standardisation(density.nll(features).numpy(), tap.channels))
    means, stds = zip(*standards, strict=True)
    return Scorer(densities, means, stds), standards


def _prove(manifest: dict[str, Any], files: dict[str, bytes]) -> None:
    """Write the bundle where nobody looks and let the deployed engine reproduce its goldens."""
    with tempfile.TemporaryDirectory(prefix='ood_monitor_train.') as folder:
        bundle = write_bundle(Path(folder, 'bundle'), manifest=manifest, files=files)
        engine = open_engine(bundle)
        result = bundle.verify(engine)
        engine.close()
    if not result.ok:
        msg = f'{result}; use another version of ONNX Runtime'
        raise EngineError(msg)
