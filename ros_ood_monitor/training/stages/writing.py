"""The last stage: manifest and files to a bundle that is proven, and the report beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bundle import Bundle, SKETCH, write_bundle
from ros_ood_monitor.bundle.sketch import FrameSketch
from ros_ood_monitor.health import health_table
from ros_ood_monitor.training.card import training_card
from ros_ood_monitor.training.evidence import Evidence
from ros_ood_monitor.training.manifest import make_manifest
from ros_ood_monitor.training.report import write_report
from ros_ood_monitor.training.report_rows import report_data
from ros_ood_monitor.training.settings.config_file import to_yaml
from ros_ood_monitor.training.settings.train_settings import TrainSettings
from ros_ood_monitor.training.stages.deployment import Deployment
from ros_ood_monitor.training.stages.model import Model
from ros_ood_monitor.training.stages.run import Run
from ros_ood_monitor.training.target import prove

__all__ = ['write_model']

_log = logging.getLogger(__name__)


def write_model(
    run: Run,
    model: Model,
    deployment: Deployment,
    found: Evidence,
    out: Path,
    *,
    name: str,
    overwrite: bool,
) -> tuple[Bundle, str]:
    """
    Write the bundle, whole or not at all, and its report.

    Parameters
    ----------
    run : Run
        The training.
    model : Model
        What scores frames.
    deployment : Deployment
        What is shipped of it.
    found : Evidence
        What the card and the report tell.
    out : Path
        Folder of the bundle.
    name : str
        Of the bundle.
    overwrite : bool
        Whether a bundle that is there is replaced.

    Returns
    -------
    bundle : Bundle
        Loaded from where it was written.
    problem : str
        Why there is no report; empty where there is one.

    Raises
    ------
    EngineError
        If a precision does not reproduce its goldens.
    BundleError
        If the output exists or cannot be written.

    """
    manifest = _manifest(run, model, deployment, found, name)
    files = {
        'scorer.onnx': deployment.scorer_onnx,
        'training.yaml': to_yaml(run.settings).encode(),
        SKETCH: FrameSketch.of(_seen(found, run.settings)).to_bytes(),
    }
    for precision in deployment.precisions:
        files |= deployment.deployed[precision].files()
    with run.watch.part('checks'):
        prove(manifest, files, deployment.precisions)
    run.progress.note('drawing the report')
    page = _Report(found)
    bundle = write_bundle(
        out, manifest=manifest, files=files, overwrite=overwrite, beside=page.write
    )
    return bundle, page.problem


def _manifest(
    run: Run, model: Model, deployment: Deployment, found: Evidence, name: str
) -> dict[str, Any]:
    table, settings = found.table, run.settings
    manifest = make_manifest(
        name=name,
        backbone=model.reader.backbone,
        fitted=model.fitted,
        fitted_map=model.fitted_map,
        preprocess=model.reader.preprocess,
        tolerances=deployment.tolerances,
        health=health_table(
            table.health, table.size, still=table.longest_still(), bar=table.constant_bar()
        ),
        training=training_card(found, settings.card()),
        data_licence=settings.data_licence,
    )
    if deployment.rates:
        manifest['calibration'] = {
            precision: rate.card() for precision, rate in deployment.rates.items()
        }
    return manifest


def _seen(found: Evidence, settings: TrainSettings) -> npt.NDArray[np.uint8]:
    """Return the digests of all frames that the scorer knows."""
    if found.wild is None or settings.density != 'woods':
        return found.table.digest
    return np.concatenate([found.table.digest, found.wild.digest])


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
