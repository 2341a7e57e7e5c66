"""From frames to a bundle; `train` reads like the way it goes."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import copy
from dataclasses import dataclass, replace
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.bundle import Bundle, SKETCH, write_bundle
from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.bundle.sketch import FrameSketch
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.health import health_table
from ros_ood_monitor.training.backbones import tiles_of
from ros_ood_monitor.training.card import make_manifest, training_card
from ros_ood_monitor.training.choice import choose, choosing_probes, taken
from ros_ood_monitor.training.config_file import to_yaml
from ros_ood_monitor.training.datasets import Dataset
from ros_ood_monitor.training.deployed import (
    deploy,
    Deployed,
    judge_all,
    score_for_gate,
    shipped,
)
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.export import (
    check_backbone,
    check_scorer,
    export_scorer,
    output_names,
)
from ros_ood_monitor.training.fit import vim_classifier
from ros_ood_monitor.training.fit_store import FitStore
from ros_ood_monitor.training.fitting import deviation_of_sum, fit_taps, make_scorer
from ros_ood_monitor.training.frame_reader import FrameReader, open_frames, open_reader
from ros_ood_monitor.training.held_out_rate import held_out_rates
from ros_ood_monitor.training.leaks import check_enough, check_leaks
from ros_ood_monitor.training.map_choice import fit_best_map
from ros_ood_monitor.training.pictures import Pictures
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.report import write_report
from ros_ood_monitor.training.report_rows import report_data
from ros_ood_monitor.training.scorer import Scorer
from ros_ood_monitor.training.settings import Resources, TrainSettings
from ros_ood_monitor.training.split import Split, split_frames
from ros_ood_monitor.training.stopwatch import Stopwatch
from ros_ood_monitor.training.table import FeatureTable
from ros_ood_monitor.training.target import prove
from ros_ood_monitor.training.unmask_frames import unmask_backbone, Unmasked
from ros_ood_monitor.training.wild import fit_wild, FittedWild
from ros_ood_monitor.training.wild_data import find_wild

__all__ = ['TrainResult', 'train']

_RELATIVE_TOLERANCE = 1e-4
_MAP_TOLERANCE = 0.01  # deviations of a cell, root mean square over a map

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """
    What `train` hands back.

    Parameters
    ----------
    bundle : Bundle
        Loaded from where it was written.
    found : Evidence
        What the training found; its table is closed.
    skipped : list of (str, str)
        Frames that did not decode: name and reason.
    missing : list of str
        Files that bags lack, and damaged ones.
    report : str
        Why there is no report; empty where there is one.

    """

    bundle: Bundle
    found: Evidence
    skipped: list[tuple[str, str]]
    missing: list[str]
    report: str


def train(
    settings: TrainSettings,
    out: Path | str,
    *,
    name: str = '',
    overwrite: bool = False,
    resources: Resources | None = None,
    progress: Progress | None = None,
    dataset: Dataset | None = None,
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
    resources : Resources, optional
        Cache, workers, device; no cache and the CPU by default.
    progress : Progress, optional
        What shows progress; nothing by default.
    dataset : Dataset, optional
        What `preflight` gave for the same settings and output; it is called by default.

    Returns
    -------
    TrainResult
        The bundle and the facts of its training.

    Raises
    ------
    TrainingError
        If the data or a setting does not allow it, or every precision is refused.
    BagError, ParameterError
        If a bag or a topic cannot be read.
    CalibrationError
        If alpha is outside (0, 1).
    EngineError
        If ONNX Runtime computes anything else than torch.
    BundleError
        If the name is no plain one, or the output exists or cannot be written.

    """
    out = Path(out)
    progress = progress or Progress(quiet=True)
    resources = resources or Resources(device='cpu')
    dataset = dataset or preflight(settings, out, name=name, overwrite=overwrite)
    settings.check()
    watch = Stopwatch()
    with _reproducible(settings.threads), contextlib.ExitStack() as stack:
        unmasked: Unmasked | None = None
        if settings.unmask.method != 'none':
            with watch.part('unmask'):
                unmasked = _unmask(open_frames(dataset, settings, resources), progress)
        with watch.part('backbone'):
            reader = open_reader(
                dataset,
                settings,
                resources,
                progress,
                backbone=None if unmasked is None else unmasked.backbone,
            )
        expected = dataset.counts.expected
        with watch.part('extraction'), progress.counted(expected, 'features', 'frame') as show:
            table = stack.enter_context(reader.all_frames(show))
        wild_dataset, wild = find_wild(settings), None
        if wild_dataset is not None:
            expected = wild_dataset.counts.expected
            with (
                watch.part('wild features'),
                progress.counted(expected, 'wild features', 'frame') as show,
            ):
                wild_reader = replace(reader, dataset=wild_dataset)
                wild = stack.enter_context(wild_reader.all_frames(show))
        with watch.part('fit'):
            check_enough(table, dataset, settings)
            tiles_of(reader.backbone).check_frames(table.size)
            split = _split(table, reader)
            repetition = check_leaks(table, split, reader.dataset.sequences)
            pictures = Pictures.choose(table, split, seed=settings.seed)
            probes = reader.features(pictures.all_pseudo())
            store = None if resources.cache is None else FitStore(resources.cache / 'fits')
            facts = {'data': table.data_sha256, 'backbone': reader.sha256}
            every = fit_taps(
                table,
                split,
                settings,
                probes=probes,
                store=store,
                facts=facts,
                classifier=vim_classifier(settings.density, reader.backbone, reader.taps),
                parallel=1 + resources.workers,
                progress=progress,
            )
            choice = None
            if settings.density == 'evidence':
                progress.note('choosing detector and taps')
                choice = choose(
                    every,
                    table,
                    split,
                    choosing_probes(reader, pictures, probes, seed=settings.seed),
                )
            fitted = taken(every, settings.density if choice is None else choice.taken.density)
            if choice is not None:
                fitted = [row for row in fitted if row.tap.name in choice.taken.taps]
                reader = reader.narrowed([row.tap for row in fitted])
        fitted_wild: FittedWild | None = None
        if wild is not None and wild_dataset is not None:
            with watch.part('wild'):
                progress.note('learning from wild frames')
                fitted_wild = fit_wild(
                    every,
                    fitted,
                    table,
                    split,
                    wild,
                    wild_dataset.sequences,
                    pictures.pseudo_rows(probes),
                    settings,
                )
                if settings.density == 'woods':
                    fitted_wild.check()
                    fitted = fitted_wild.fitted
        fitted_map, map_choice = None, None
        if reader.plan is not None:
            with watch.part('map'):
                fitted_map, map_choice = fit_best_map(
                    reader, table, split, pictures, store=store, facts=facts, progress=progress
                )
        with watch.part('export'):
            progress.note('exporting the scorer')
            if fitted_map is None:
                scorer = make_scorer(fitted)
            else:
                # the logit has a meaning of its own, which a map would blur
                own = settings.density == 'woods'
                weight = 0.0 if own else deviation_of_sum(fitted, table, split)
                scorer = make_scorer(fitted, fitted_map.cells, weight)
            scorer_onnx = export_scorer(copy.deepcopy(scorer).float(), reader.taps)
        # from here on everything is computed the way the robot computes it
        deployed: dict[str, Deployed] = {}
        for precision in dict.fromkeys(['fp32', *settings.precisions]):
            progress.note(f'calibrating {precision}')
            with watch.part('calibration' if precision == 'fp32' else precision):
                deployed[precision] = deploy(
                    precision, reader, scorer_onnx, table, split, pictures
                )
        with watch.part('gate'):
            deployed = score_for_gate(
                deployed,
                seed=settings.seed,
                workers=resources.workers,
            )
        with watch.part('checks'):
            tolerance = _check_parity(reader, scorer, scorer_onnx, deployed['fp32'], pictures)
            verdicts, tolerances = judge_all(deployed, tolerance)
            precisions = shipped(settings.precisions, verdicts)
        rates = {}
        if settings.false_alerts_per_hour is not None:
            with watch.part('rate'):
                rates = held_out_rates(
                    {precision: deployed[precision] for precision in precisions},
                    table,
                    split,
                    reader.dataset,
                    settings,
                )
            deployed |= {name: deployed[name].at(rate.point) for name, rate in rates.items()}
        found = Evidence(
            table=table,
            sequences=reader.dataset.sequences,
            split=split,
            repetition=repetition,
            pictures=pictures,
            probes=probes,
            fitted=fitted,
            choice=choice,
            fitted_map=fitted_map,
            map_choice=map_choice,
            wild=fitted_wild,
            deployed=deployed,
            verdicts=verdicts,
            seconds=watch.seconds,
            rates=rates,
            unmasked=unmasked,
        )
        manifest = make_manifest(
            name=name or out.name,
            backbone=reader.backbone,
            fitted=fitted,
            fitted_map=fitted_map,
            preprocess=reader.preprocess,
            tolerances={precision: tolerances[precision] for precision in precisions},
            health=health_table(table.health, table.size, still=table.longest_still()),
            training=training_card(found, settings.card()),
            data_licence=settings.data_licence,
        )
        if rates:
            manifest['calibration'] = {name: rate.card() for name, rate in rates.items()}
        files = {
            'scorer.onnx': scorer_onnx,
            'training.yaml': to_yaml(settings).encode(),
            SKETCH: FrameSketch.of(_seen(table, settings, fitted_wild)).to_bytes(),
        }
        for precision in precisions:
            files |= deployed[precision].files()
        with watch.part('checks'):
            prove(manifest, files, precisions)
        progress.note('drawing the report')
        page = _Report(found)
        bundle = write_bundle(
            out, manifest=manifest, files=files, overwrite=overwrite, beside=page.write
        )
        states = [shard.state for shard in table.shards]
    return TrainResult(
        bundle,
        found,
        skipped=[problem for state in states for problem in state.skipped],
        missing=[line for state in states for line in state.missing],
        report=page.problem,
    )


def _split(table: FeatureTable, reader: FrameReader) -> Split:
    settings = reader.settings
    return split_frames(
        table.sequence,
        rule=settings.split,
        alpha=settings.alpha,
        by_sequence=reader.dataset.has_only_bags,
        seed=settings.seed,
    )


def _unmask(reader: FrameReader, progress: Progress) -> Unmasked:
    """Split frames as the fit does later, and teach the backbone their labels."""
    settings, expected = reader.settings, reader.dataset.counts.expected
    with (
        progress.counted(expected, 'labelled frames', 'frame') as show,
        reader.all_frames(show) as table,
    ):
        check_enough(table, reader.dataset, settings)
        return unmask_backbone(reader, table, _split(table, reader), progress=progress)


def _seen(
    table: FeatureTable, settings: TrainSettings, wild: FittedWild | None
) -> npt.NDArray[np.uint8]:
    """Return the digests of all frames that the scorer knows."""
    if wild is None or settings.density != 'woods':
        return table.digest
    return np.concatenate([table.digest, wild.digest])


def _check_parity(
    reader: FrameReader,
    scorer: Scorer,
    scorer_onnx: bytes,
    reference: Deployed,
    pictures: Pictures,
) -> Tolerance:
    """Prove the exported graphs against what they were exported from; return the tolerance."""
    tolerance = Tolerance(
        max(0.01 * float(reference.raw_score.std()), 1e-6), _RELATIVE_TOLERANCE, _MAP_TOLERANCE
    )
    session = open_session(reader.onnx)
    check_backbone(session, reader.backbone, reader.taps, pictures.golden, reader.maps)
    seen = session.run(output_names(reader.taps, reader.maps), {'image': pictures.golden})
    check_scorer(open_session(scorer_onnx), scorer, reader.taps, seen, tolerance=tolerance)
    return tolerance


class _Report:
    """The report beside a bundle; that it could not be drawn is no reason to lose the bundle."""

    def __init__(self, found: Evidence) -> None:
        self.problem = ''
        self._found = found

    def write(self, bundle: Bundle, folder: Path) -> None:
        try:
            write_report(folder / 'report', report_data(bundle, self._found))
        except Exception as error:  # noqa: BLE001, matplotlib and its fonts fail in many ways
            self.problem = f'{type(error).__name__}: {error}'
            _log.debug('the report could not be drawn', exc_info=True)


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
