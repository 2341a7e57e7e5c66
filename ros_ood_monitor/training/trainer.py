"""From frames to a bundle; `train` reads like the way it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import copy
from dataclasses import dataclass
import hashlib
import logging
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import BundleError, EngineError, TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import (
    Backbone,
    BackboneTap,
    load_backbone,
    TappedBackbone,
    TorchBackbone,
)
from ros_ood_monitor.training.calibrate import golden_images
from ros_ood_monitor.training.card import make_manifest, training_card
from ros_ood_monitor.training.config_file import to_yaml
from ros_ood_monitor.training.datasets import Dataset
from ros_ood_monitor.training.deployed import deploy, Deployed
from ros_ood_monitor.training.evidence import Evidence, report_data
from ros_ood_monitor.training.export import (
    check_backbone,
    check_scorer,
    export_backbone,
    export_scorer,
)
from ros_ood_monitor.training.extract import extract, OnnxRunner, Runner, TorchRunner
from ros_ood_monitor.training.fit_store import FitStore
from ros_ood_monitor.training.fitting import fit_taps, FittedTap, make_scorer
from ros_ood_monitor.training.leaks import check_leaks, Repetition
from ros_ood_monitor.training.precisions import (
    convert,
    golden_tolerance,
    judge_worst,
    PrecisionVerdict,
)
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.pseudo_ood import pseudo_ood
from ros_ood_monitor.training.report import write_report
from ros_ood_monitor.training.settings import Resources, TrainSettings
from ros_ood_monitor.training.split import check_count, Split, split_frames
from ros_ood_monitor.training.stopwatch import Stopwatch
from ros_ood_monitor.training.table import FeatureTable

__all__ = ['TrainResult', 'train']

_RELATIVE_TOLERANCE = 1e-4
_PSEUDO_FRAMES = 32
_SMALLEST_INPUT = 32

_log = logging.getLogger(__name__)


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
    skipped : list of (str, str)
        Frames that did not decode: name and reason.
    missing : list of str
        Files that bags lack, and damaged ones.
    near_duplicates : int
        Frames that were left out because they look like the one before.
    backward_steps : int
        How often time runs backwards inside a sequence.
    repetition : Repetition
        How much of the data repeats itself.
    verdicts : list of PrecisionVerdict
        Of every precision but the reference; refused ones are not in the bundle.
    raw_score : ndarray of shape (k,), float64
        Of the calibration frames, in float32.
    seconds : dict of str to float
        Wall time by part, in s.
    report : str
        Why there is no report; empty where there is one.

    """

    bundle: Bundle
    taps: list[FittedTap]
    split: Split
    skipped: list[tuple[str, str]]
    missing: list[str]
    near_duplicates: int
    backward_steps: int
    repetition: Repetition
    verdicts: list[PrecisionVerdict]
    raw_score: npt.NDArray[np.float64]
    seconds: dict[str, float]
    report: str


def train(
    settings: TrainSettings,
    out: Path | str,
    *,
    name: str = '',
    overwrite: bool = False,
    resources: Resources | None = None,
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
    resources : Resources, optional
        Cache, workers, device; no cache and the CPU by default.
    progress : Progress, optional
        What shows progress; nothing by default.

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
        If the output exists or cannot be written.

    """
    out = Path(out)
    progress = progress or Progress(quiet=True)
    resources = resources or Resources(device='cpu')
    _check_target(out, overwrite=overwrite)
    settings.check()
    watch = Stopwatch()
    with _reproducible(settings.threads):
        with watch.part('backbone'):
            backbone = load_backbone(settings.backbone, weights=settings.weights)
            taps = backbone.select(settings.taps)
            preprocess = Preprocessor(*_input_size(settings, backbone))
            dataset = Dataset(settings.data, settings.selection)
            count = dataset.count()
            check_count(count, settings.alpha)
            progress.note('exporting the backbone')
            backbone_onnx = export_backbone(backbone, taps, preprocess.height, preprocess.width)
        reader = _Reader(dataset, preprocess, taps, settings, resources)
        run = reader.runner(backbone_onnx, backbone)
        with contextlib.ExitStack() as stack:
            with watch.part('extraction'), progress.counted(count, 'features', 'frame') as show:
                table = stack.enter_context(reader.all_frames(backbone_onnx, run, show))
            with watch.part('fit'):
                split = split_frames(
                    table.sequence,
                    rule=settings.split,
                    alpha=settings.alpha,
                    by_sequence=dataset.has_only_bags,
                    seed=settings.seed,
                )
                repetition = check_leaks(table, split, dataset.sequences)
                images = table.images
                pseudo = _pseudo_pictures(images, settings.seed)
                probes = _run_each(run, np.concatenate(list(pseudo.values())))
                fitted = fit_taps(
                    table,
                    split,
                    settings,
                    probes=probes,
                    store=None if resources.cache is None else FitStore(resources.cache / 'fits'),
                    facts={'data': table.data_sha256, 'backbone': _sha256(backbone_onnx)},
                    progress=progress,
                )
            with watch.part('export'):
                progress.note('exporting the scorer')
                scorer = make_scorer(fitted)
                scorer_onnx = export_scorer(copy.deepcopy(scorer).float(), taps)
            # from here on everything is computed the way the robot computes it
            chosen = golden_images(images, split, seed=settings.seed)
            ranges = _pictures_for_int8(images, split)
            deployed: dict[str, Deployed] = {}
            for precision in dict.fromkeys(['fp32', *settings.precisions]):
                progress.note(f'calibrating {precision}')
                with watch.part('calibration' if precision == 'fp32' else precision):
                    deployed[precision] = reader.deployed(
                        precision,
                        convert(backbone_onnx, precision, calibration_images=ranges),
                        open_session(scorer_onnx),
                        table if precision == 'fp32' and isinstance(run, OnnxRunner) else None,
                        _Facts(table, split, chosen, pseudo),
                    )
            reference = deployed['fp32']
            with watch.part('checks'):
                tolerance = (
                    max(0.01 * float(reference.raw_score.std()), 1e-6),
                    _RELATIVE_TOLERANCE,
                )
                deployed_backbone = open_session(backbone_onnx)
                check_backbone(deployed_backbone, backbone, taps, chosen)
                seen = deployed_backbone.run([tap.output for tap in taps], {'image': chosen})
                check_scorer(open_session(scorer_onnx), scorer, taps, seen, tolerance=tolerance)
                verdicts, tolerances = _judge(deployed, tolerance)
                kept = _kept(settings.precisions, verdicts)
                manifest = make_manifest(
                    name=name or out.name,
                    backbone=backbone,
                    fitted=fitted,
                    preprocess=preprocess,
                    tolerances={precision: tolerances[precision] for precision in kept},
                    training=training_card(
                        dataset=dataset,
                        table=table,
                        split=split,
                        repetition=repetition,
                        settings=settings.card(),
                        fitted=fitted,
                        verdicts=verdicts,
                    ),
                    data_licence=settings.data_licence,
                )
                files = {'scorer.onnx': scorer_onnx, 'training.yaml': to_yaml(settings).encode()}
                for precision in kept:
                    files |= deployed[precision].files()
                _prove(manifest, files, kept)
            page = _Report(
                Evidence(
                    table=table,
                    sequences=dataset.sequences,
                    split=split,
                    images=images,
                    pseudo=pseudo,
                    probes=probes,
                    fitted=fitted,
                    deployed=deployed,
                    verdicts=verdicts,
                    seconds=watch.seconds,
                )
            )
            progress.note('drawing the report')
            with watch.part('report'):
                bundle = write_bundle(
                    out, manifest=manifest, files=files, overwrite=overwrite, beside=page.write
                )
            result = TrainResult(
                bundle=bundle,
                taps=fitted,
                split=split,
                skipped=[problem for shard in table.shards for problem in shard.state.skipped],
                missing=[line for shard in table.shards for line in shard.state.missing],
                near_duplicates=sum(shard.state.near_duplicates for shard in table.shards),
                backward_steps=table.backward_steps(),
                repetition=repetition,
                verdicts=verdicts,
                raw_score=reference.raw_score,
                seconds=watch.seconds,
                report=page.problem,
            )
    return result


class _Report:
    """The report beside a bundle; that it could not be drawn is no reason to lose the bundle."""

    def __init__(self, evidence: Evidence) -> None:
        self.problem = ''
        self._evidence = evidence

    def write(self, bundle: Bundle, folder: Path) -> None:
        try:
            write_report(folder / 'report', report_data(bundle, self._evidence))
        except Exception as error:  # noqa: BLE001, matplotlib and its fonts fail in many ways
            self.problem = f'{type(error).__name__}: {error}'
            _log.debug('the report could not be drawn', exc_info=True)


@dataclass(frozen=True, eq=False)
class _Facts:
    """What every precision is computed on."""

    table: FeatureTable
    split: Split
    golden_images: npt.NDArray[np.uint8]
    pseudo: dict[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class _Reader:
    """The frames of a training, read as often as a backbone needs them."""

    dataset: Dataset
    preprocess: Preprocessor
    taps: Sequence[BackboneTap]
    settings: TrainSettings
    resources: Resources

    def runner(self, backbone_onnx: bytes, backbone: Backbone) -> Runner:
        """Return what computes features: a GPU where torch has the network and sees one."""
        device = self.resources.device
        if device == 'auto':
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        if device == 'cuda' and isinstance(backbone, TorchBackbone):
            if not torch.cuda.is_available():
                msg = 'torch sees no GPU: expected one for --device cuda; use --device cpu'
                raise TrainingError(msg)
            return TorchRunner(TappedBackbone(backbone, self.taps), device)
        return self._deployed_runner(backbone_onnx, 'fp32')

    def _deployed_runner(self, backbone_onnx: bytes, precision: str) -> OnnxRunner:
        threads = self.settings.threads
        return OnnxRunner(
            open_session(backbone_onnx, threads=threads, precision=precision), self.taps
        )

    def all_frames(
        self, backbone_onnx: bytes, run: Runner, on_frame: Callable[[int], object]
    ) -> contextlib.AbstractContextManager[FeatureTable]:
        """Return the features of all frames."""
        return extract(
            self.dataset,
            run,
            self.preprocess,
            self.taps,
            backbone_sha256=_sha256(backbone_onnx),
            cache=self.resources.cache,
            workers=self.resources.workers,
            near_duplicates=self.settings.near_duplicates,
            on_frame=on_frame,
        )

    def deployed(
        self,
        precision: str,
        backbone_onnx: bytes,
        scorer: Any,
        table: FeatureTable | None,
        facts: _Facts,
    ) -> Deployed:
        """Return a precision, calibrated; its features are computed where no table is given."""
        parts = facts.split.calibration, facts.split.validation
        with contextlib.ExitStack() as stack:
            if table is None:
                rows = np.sort(np.concatenate(parts))
                table = stack.enter_context(
                    self._some_frames(precision, backbone_onnx, facts.table, rows)
                )
                parts = np.searchsorted(rows, parts[0]), np.searchsorted(rows, parts[1])
            return deploy(
                precision,
                backbone_onnx,
                scorer,
                self.taps,
                table,
                *parts,
                alpha=self.settings.alpha,
                frame_rate_hz=facts.table.frame_rate_hz(),
                golden_images=facts.golden_images,
                pseudo=facts.pseudo,
            )

    def _some_frames(
        self,
        precision: str,
        backbone_onnx: bytes,
        table: FeatureTable,
        rows: npt.NDArray[np.int64],
    ) -> contextlib.AbstractContextManager[FeatureTable]:
        sequence, position = table.sequence[rows], table.position[rows]
        only = {int(k): position[sequence == k].tolist() for k in np.unique(sequence)}
        return extract(
            self.dataset,
            self._deployed_runner(backbone_onnx, precision),
            self.preprocess,
            self.taps,
            backbone_sha256=_sha256(backbone_onnx),
            cache=self.resources.cache,
            workers=self.resources.workers,
            only=only,
        )


def _input_size(settings: TrainSettings, backbone: Backbone) -> tuple[int, int]:
    size = settings.input_size
    height, width = backbone.input_size if size is None else (size, size)
    if min(height, width) < _SMALLEST_INPUT:
        msg = f'input size out of range: expected at least {_SMALLEST_INPUT} px, got {size}'
        raise TrainingError(msg)
    backbone.check_size(height, width)
    return height, width


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _pseudo_pictures(
    images: Mapping[int, npt.NDArray[np.uint8]], seed: int
) -> dict[str, npt.NDArray[np.uint8]]:
    rows = sorted(images)
    chosen = sorted({rows[k * len(rows) // _PSEUDO_FRAMES] for k in range(_PSEUDO_FRAMES)})
    return pseudo_ood(np.stack([images[row] for row in chosen]), seed=seed)


def _pictures_for_int8(
    images: Mapping[int, npt.NDArray[np.uint8]], split: Split
) -> npt.NDArray[np.uint8]:
    fit = set(split.fit.tolist())
    rows = [row for row in sorted(images) if row in fit] or sorted(images)
    return np.stack([images[row] for row in rows])


def _run_each(run: Runner, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    size = run.batch_size
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    return np.concatenate([run(batch) for batch in batches])  # (m, width)


def _judge(
    deployed: Mapping[str, Deployed], tolerance: tuple[float, float]
) -> tuple[list[PrecisionVerdict], dict[str, tuple[float, float]]]:
    """Return what is said of every precision but the reference, and how exact goldens must be."""
    reference = deployed['fp32']
    verdicts, tolerances = [], {'fp32': tolerance}
    for precision, candidate in deployed.items():
        if precision == 'fp32':
            continue
        verdict = judge_worst(
            {
                kind: (reference.for_gate(kind), candidate.for_gate(kind))
                for kind in candidate.pseudo_score
            }
        )
        verdicts.append(verdict)
        if verdict.ok:
            tolerances[precision] = golden_tolerance(
                reference.for_gate(), candidate.for_gate(), least=tolerance
            )
    return verdicts, tolerances


def _kept(precisions: Sequence[str], verdicts: Sequence[PrecisionVerdict]) -> list[str]:
    refused = {verdict.precision: verdict for verdict in verdicts if not verdict.ok}
    kept = [precision for precision in precisions if precision not in refused]
    if not kept:
        msg = f'every precision is refused; add fp32: {"; ".join(map(str, refused.values()))}'
        raise TrainingError(msg)
    return kept


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
    try:
        tempfile.TemporaryDirectory(prefix='.ood_monitor.', dir=parent).cleanup()
    except OSError as error:
        msg = f'output cannot be written ({error.strerror or error} in {parent}): {out}'
        raise BundleError(msg) from error


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


def _prove(manifest: dict[str, Any], files: dict[str, bytes], precisions: Sequence[str]) -> None:
    """Write the bundle where nobody looks and let the deployed engine reproduce its goldens."""
    with tempfile.TemporaryDirectory(prefix='ood_monitor_train.') as folder:
        bundle = write_bundle(Path(folder, 'bundle'), manifest=manifest, files=files)
        for precision in precisions:
            engine = open_engine(bundle, precision=precision)
            result = bundle.verify(engine, precision)
            engine.close()
            if not result.ok:
                msg = f'{precision}: {result}; use another version of ONNX Runtime'
                raise EngineError(msg)
