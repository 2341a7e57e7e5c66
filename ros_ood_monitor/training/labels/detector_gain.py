"""
What a changed backbone did to the detector of the bundle: the same one on the pretrained backbone.

The scores of the classifier judge Unleashing Mask, but no robot runs them. So the detectors that
were fitted are fitted again to what the pretrained backbone gives of the same frames, and both
are judged on the same validation frames and pseudo-OOD. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.metrics import auroc, auroc_difference
from ros_ood_monitor.metrics.comparison import Difference
from ros_ood_monitor.training.backbones import load_backbone
from ros_ood_monitor.training.detectors.vim import vim_classifier
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.features.open_reader import open_reader
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.fitting.choice import choosing_probes, taken
from ros_ood_monitor.training.fitting.fitted_taps import FittedTap, sum_over_taps
from ros_ood_monitor.training.fitting.taps import fit_taps
from ros_ood_monitor.training.frames.pseudo_ood import NEAR
from ros_ood_monitor.training.frames.split import Split
from ros_ood_monitor.training.held_out.pictures import Pictures
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.rows import spread
from ros_ood_monitor.training.settings.densities import VIM
from ros_ood_monitor.training.settings.train_settings import TrainSettings

__all__ = ['DetectorGain', 'judge_detector']

_MOST: Final = 1024  # fitted frames, and as many held-out ones at most
_OWN_HEAD: Final = 'woods'  # its score is that of wild frames, not of the densities

_Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DetectorGain:
    """
    AUROC of pseudo-OOD by the bundle's detector, with either backbone.

    Parameters
    ----------
    frames : tuple of int
        Fitted ones, and validation ones that are told from pseudo-OOD.
    before, after : mapping of str to float
        By kind of pseudo-OOD, near ones first: with the pretrained backbone, and with that of the
        bundle. Without a map's share in the score.
    near : tuple of float
        Both, of all near kinds together.
    gain : Difference
        Of these two, paired, with its standard error.

    """

    frames: tuple[int, int]
    before: Mapping[str, float]
    after: Mapping[str, float]
    near: tuple[float, float]
    gain: Difference

    @property
    def helped(self) -> bool:
        """Return whether near pseudo-OOD is told apart better, by more than chance."""
        return self.gain.value > 0.0 and self.gain.value >= self.gain.standard_error

    def card(self) -> dict[str, Any]:
        """Return the facts for the manifest; plain values only."""
        before, after = self.near
        error = self.gain.standard_error
        return {
            'frames': {'fit': self.frames[0], 'held_out': self.frames[1]},
            'near': {
                'before': round(before, 4),
                'after': round(after, 4),
                'gain': round(self.gain.value, 4),
                'standard_error': round(error, 4) if np.isfinite(error) else None,
            },
            'auroc': {
                kind: {'before': round(area, 4), 'after': round(self.after[kind], 4)}
                for kind, area in self.before.items()
            },
        }


def judge_detector(
    reader: FrameReader,
    fitted: Sequence[FittedTap],
    table: FeatureTable,
    split: Split,
    pictures: Pictures,
    probes: npt.NDArray[np.float32],
    *,
    density: str,
    progress: Progress,
) -> DetectorGain | None:
    """
    Fit the detector to the pretrained backbone, too, and compare.

    It takes one more pass of the pretrained backbone over 1024 fitted and 1024 validation frames
    at most, and one more fit. Where there are more, the bundle's detector is fitted to these,
    too, so that both have seen the same.

    Parameters
    ----------
    reader : FrameReader
        Frames, and the changed backbone with all taps of the table.
    fitted : sequence of FittedTap
        The bundle's.
    table : FeatureTable
        All frames by the changed backbone.
    split : Split
        The three parts.
    pictures : Pictures
        What pseudo-OOD is made from.
    probes : ndarray of shape (m, width), float32
        Features of the pseudo-OOD pictures, kind after kind.
    density : str
        What was fitted, or chosen.
    progress : Progress
        Told what takes the time.

    Returns
    -------
    DetectorGain or None
        None where nothing could be compared: a head on wild frames, or a detector that needs a
        classifier on a backbone that comes without one.

    Raises
    ------
    TrainingError
        If a detector cannot be fitted.

    """
    names = [row.tap.name for row in fitted]
    settings = replace(reader.settings, density=density, taps=names, map='none')
    backbone = load_backbone(settings.backbone, weights=settings.weights)
    if density == _OWN_HEAD or (density == VIM and backbone.classifier is None):
        return None
    fit, held_out = (part[spread(len(part), _MOST)] for part in (split.fit, split.validation))
    some = replace(split, fit=fit, validation=held_out)
    progress.note('comparing with the pretrained backbone')
    if len(fit) < len(split.fit) or len(held_out) < len(split.validation):
        fitted = _fit(reader, table, some, probes, settings, progress)
        fitted = [row for row in fitted if row.tap.name in names]
    after = _scores(reader, fitted, table, held_out, pictures, probes)
    plain = open_reader(reader.dataset, settings, reader.resources, progress, backbone=backbone)
    rows = np.sort(np.concatenate([fit, held_out]))
    with plain.some_frames('fp32', plain.onnx, table, rows) as own:
        own_fit, own_held_out = (np.searchsorted(rows, part) for part in (fit, held_out))
        some = Split(split.rule, own_fit, own_held_out, np.empty(0, np.int64))
        seen = plain.features(pictures.all_pseudo())
        refitted = _fit(plain, own, some, seen, settings, progress)
        before = _scores(plain, refitted, own, some.validation, pictures, seen)
    return _gain((len(fit), len(held_out)), before, after)


def _fit(
    reader: FrameReader,
    table: FeatureTable,
    split: Split,
    probes: npt.NDArray[np.float32],
    settings: TrainSettings,
    progress: Progress,
) -> list[FittedTap]:
    every = fit_taps(
        table,
        split,
        settings,
        probes=probes,
        store=None,
        classifier=vim_classifier(settings.density, reader.backbone, reader.taps),
        parallel=1 + reader.resources.workers,
        progress=progress,
    )
    return taken(every, settings.density)


def _scores(
    reader: FrameReader,
    fitted: Sequence[FittedTap],
    table: FeatureTable,
    rows: npt.NDArray[np.int64],
    pictures: Pictures,
    probes: npt.NDArray[np.float32],
) -> tuple[_Scores, dict[str, _Scores]]:
    """Return the sums over taps of held-out frames, and of pseudo-OOD by kind."""
    strange = choosing_probes(reader, pictures, probes, seed=reader.settings.seed)
    return sum_over_taps(fitted, table, rows, table.columns), {
        kind: sum_over_taps(fitted, features, np.arange(len(features)), table.columns)
        for kind, features in strange.items()
    }


def _gain(
    frames: tuple[int, int],
    before: tuple[_Scores, Mapping[str, _Scores]],
    after: tuple[_Scores, Mapping[str, _Scores]],
) -> DetectorGain:
    def by_kind(scores: tuple[_Scores, Mapping[str, _Scores]]) -> dict[str, float]:
        return {kind: auroc(scores[0], strange) for kind, strange in scores[1].items()}

    normal = before[0], after[0]
    near = (
        np.concatenate([before[1][kind] for kind in NEAR]),
        np.concatenate([after[1][kind] for kind in NEAR]),
    )
    return DetectorGain(
        frames,
        by_kind(before),
        by_kind(after),
        (auroc(normal[0], near[0]), auroc(normal[1], near[1])),
        auroc_difference(normal, near),
    )
