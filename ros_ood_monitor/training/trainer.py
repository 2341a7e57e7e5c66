"""From frames to a bundle; `train` reads like the way it goes."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
from pathlib import Path

import torch

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.preflight import preflight
from ros_ood_monitor.training.progress import Progress
from ros_ood_monitor.training.settings.train_settings import Resources, TrainSettings
from ros_ood_monitor.training.stages.deployment import deploy_model, Deployment
from ros_ood_monitor.training.stages.features import Features, read_features
from ros_ood_monitor.training.stages.held_out import HeldOut, hold_out
from ros_ood_monitor.training.stages.model import fit_model, Model
from ros_ood_monitor.training.stages.run import Run
from ros_ood_monitor.training.stages.writing import write_model

__all__ = ['TrainResult', 'train']


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
    run = Run(settings, resources, progress)
    with _reproducible(settings.threads), read_features(run, dataset) as features:
        with run.watch.part('fit'):
            held_out = hold_out(run, features)
        model = fit_model(run, features, held_out)
        deployment = deploy_model(run, features, held_out, model)
        found = _evidence(run, features, held_out, model, deployment)
        bundle, problem = write_model(
            run, model, deployment, found, out, name=name or out.name, overwrite=overwrite
        )
        states = [shard.state for shard in features.table.shards]
    return TrainResult(
        bundle,
        found,
        skipped=[frame for state in states for frame in state.skipped],
        missing=[line for state in states for line in state.missing],
        report=problem,
    )


def _evidence(
    run: Run, features: Features, held_out: HeldOut, model: Model, deployment: Deployment
) -> Evidence:
    return Evidence(
        table=features.table,
        sequences=features.reader.dataset.sequences,
        split=held_out.split,
        repetition=held_out.repetition,
        pictures=held_out.pictures,
        probes=held_out.probes,
        fitted=model.fitted,
        choice=model.choice,
        fitted_map=model.fitted_map,
        map_choice=model.map_choice,
        wild=model.wild,
        deployed=deployment.deployed,
        verdicts=deployment.verdicts,
        seconds=run.watch.seconds,
        rates=deployment.rates,
        unmasked=model.unmasked,
    )


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
