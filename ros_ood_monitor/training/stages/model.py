"""What a training fits: detectors of the taps, a head on wild frames, cells of the map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ros_ood_monitor.training.detectors.vim import vim_classifier
from ros_ood_monitor.training.export.scorer import Scorer
from ros_ood_monitor.training.features.frame_reader import FrameReader
from ros_ood_monitor.training.fitting.choice import Choice, choose, choosing_probes, taken
from ros_ood_monitor.training.fitting.fitted_taps import deviation_of_sum, FittedTap, make_scorer
from ros_ood_monitor.training.fitting.taps import fit_taps
from ros_ood_monitor.training.labels.detector_gain import judge_detector
from ros_ood_monitor.training.labels.unmasked import Unmasked
from ros_ood_monitor.training.maps.choice import fit_best_map
from ros_ood_monitor.training.maps.fit import FittedMap
from ros_ood_monitor.training.stages.features import Features
from ros_ood_monitor.training.stages.held_out import HeldOut
from ros_ood_monitor.training.stages.run import Run
from ros_ood_monitor.training.wild.fit import fit_wild
from ros_ood_monitor.training.wild.fitted_wild import FittedWild

__all__ = ['Model', 'fit_model']

_WOODS = 'woods'


@dataclass(frozen=True, eq=False)
class Model:
    """
    What scores frames.

    Parameters
    ----------
    reader : FrameReader
        Frames, and the backbone as far as its taps are taken.
    fitted : sequence of FittedTap
        The detectors.
    choice : Choice or None
        Of what they were taken, where it was asked for.
    wild : FittedWild or None
        What wild frames taught, where there are any.
    fitted_map : FittedMap or None
        What scores the map's cells, where there is a map.
    map_choice : mapping of str to float, or None
        AUROC of the cells of pseudo-defects by detector, where it was asked for.
    unmasked : Unmasked or None
        What the frames' labels did to the backbone, and it to the detectors, where it was asked
        for.

    """

    reader: FrameReader
    fitted: Sequence[FittedTap]
    choice: Choice | None
    wild: FittedWild | None
    fitted_map: FittedMap | None
    map_choice: Mapping[str, float] | None
    unmasked: Unmasked | None = None

    def scorer(self, features: Features, held_out: HeldOut) -> Scorer:
        """
        Return the one scorer of all taps, and of the map where there is one.

        Parameters
        ----------
        features, held_out
            What it was fitted to: the map counts what the sum over taps varies by.

        Returns
        -------
        Scorer
            In float64.

        """
        if self.fitted_map is None:
            return make_scorer(self.fitted)
        weight = 0.0  # woods: the logit has a meaning of its own, which a map would blur
        if self.reader.settings.density != _WOODS:
            weight = deviation_of_sum(self.fitted, features.table, held_out.split)
        return make_scorer(self.fitted, self.fitted_map.cells, weight)


def fit_model(run: Run, features: Features, held_out: HeldOut) -> Model:
    """
    Fit what scores frames.

    Parameters
    ----------
    run : Run
        The training.
    features : Features
        Of all frames.
    held_out : HeldOut
        The parts, and pseudo-OOD.

    Returns
    -------
    Model
        Equal arguments give an equal one.

    Raises
    ------
    TrainingError
        If a detector cannot be fitted, or wild frames teach nothing.

    """
    reader, settings = features.reader, run.settings
    store = run.fits(features.table.data_sha256, reader.sha256)
    with run.watch.part('fit'):
        every = fit_taps(
            features.table,
            held_out.split,
            settings,
            probes=held_out.probes,
            store=store,
            classifier=vim_classifier(settings.density, reader.backbone, reader.taps),
            parallel=1 + run.resources.workers,
            progress=run.progress,
        )
        choice = None
        if settings.density == 'evidence':
            choice = _choose(run, features, held_out, every)
        fitted = taken(every, settings.density if choice is None else choice.taken.density)
        if choice is not None:
            fitted = [row for row in fitted if row.tap.name in choice.taken.taps]
            reader = reader.narrowed([row.tap for row in fitted])
    wild: FittedWild | None = None
    if features.wild is not None:
        with run.watch.part('wild'):
            wild = _learn_from_wild(run, features, held_out, every, fitted)
        if settings.density == _WOODS:
            wild.check()
            fitted = wild.fitted
    fitted_map, map_choice = None, None
    if reader.plan is not None:
        with run.watch.part('map'):
            fitted_map, map_choice = fit_best_map(
                reader,
                features.table,
                held_out.split,
                held_out.pictures,
                store=store,
                progress=run.progress,
            )
    unmasked = features.unmasked
    if unmasked is not None:
        with run.watch.part('unmask compared'):
            gain = judge_detector(
                features.reader,
                fitted,
                features.table,
                held_out.split,
                held_out.pictures,
                held_out.probes,
                density=settings.density if choice is None else choice.taken.density,
                progress=run.progress,
            )
        unmasked = replace(unmasked, detector=gain)
    return Model(reader, fitted, choice, wild, fitted_map, map_choice, unmasked)


def _choose(
    run: Run,
    features: Features,
    held_out: HeldOut,
    every: Sequence[Mapping[str, FittedTap]],
) -> Choice:
    run.progress.note('choosing detector and taps')
    pictures = held_out.pictures
    probes = choosing_probes(features.reader, pictures, held_out.probes, seed=run.settings.seed)
    return choose(every, features.table, pictures.source_rows, probes)


def _learn_from_wild(
    run: Run,
    features: Features,
    held_out: HeldOut,
    every: Sequence[Mapping[str, FittedTap]],
    fitted: Sequence[FittedTap],
) -> FittedWild:
    assert features.wild is not None
    run.progress.note('learning from wild frames')
    return fit_wild(
        every,
        fitted,
        features.table,
        held_out.split,
        features.wild.table,
        features.wild.sequences,
        held_out.pictures.pseudo_rows(held_out.probes),
        run.settings,
    )
