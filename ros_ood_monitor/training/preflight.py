"""
What is refused before any work: no module here loads torch, so a typing error costs a moment.

Each of these is refused again where it is used; here it is only early.
"""

from __future__ import annotations

from pathlib import Path

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbone_names import (
    check_backbone_name,
    check_taps,
    is_onnx,
    onnx_path,
    PACKAGED_TAPS,
)
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.split import check_count
from ros_ood_monitor.training.labels.classes import find_classes
from ros_ood_monitor.training.settings.train_settings import TrainSettings
from ros_ood_monitor.training.target import check_name, check_target
from ros_ood_monitor.training.wild.data import find_wild

__all__ = ['preflight']


def preflight(
    settings: TrainSettings, out: Path | str, *, name: str = '', overwrite: bool = False
) -> Dataset:
    """
    Refuse what can be refused at once, and find the frames.

    Parameters
    ----------
    settings : TrainSettings
        Of the training.
    out : Path or str
        Folder of the bundle.
    name : str
        Of the bundle, where it is given.
    overwrite : bool, default False
        Whether an existing bundle there is replaced.

    Returns
    -------
    Dataset
        The frames; none is read yet.

    Raises
    ------
    BundleError
        If the name is no plain one, or the output exists or cannot be written.
    TrainingError
        If a setting is outside its range, a tap of a packaged backbone or a backbone is unknown,
        a file of weights cannot be read, or data is not there or too little.
    BagError, ParameterError
        If a bag or a topic cannot be read.
    CalibrationError
        If alpha is outside (0, 1).

    """
    check_name(name)
    check_target(Path(out), overwrite=overwrite)
    settings.check()
    check_backbone_name(settings.backbone)
    if settings.backbone in PACKAGED_TAPS:
        known = PACKAGED_TAPS[settings.backbone]
        chosen = check_taps(settings.taps, known)
        settings.unmask.check_deepest([tap for tap in known if tap in chosen][-1], known[-1])
    elif is_onnx(settings.backbone):
        _check_readable(onnx_path(settings.backbone), 'backbone')
    if settings.weights is not None:
        _check_readable(Path(settings.weights), 'weights')
    dataset = Dataset(settings.data, settings.selection)
    stored, most, _ = dataset.counts
    left_out = [f'{stored - most} by {settings.selection}'] if stored > most else []
    check_count(most, settings.alpha, left_out=left_out)
    if settings.unmask.method != 'none':
        _check_trainable(settings)
        find_classes(dataset)
    find_wild(settings)
    return dataset


def _check_trainable(settings: TrainSettings) -> None:
    if is_onnx(settings.backbone):
        msg = (
            'unmask trains a network of torch: expected a packaged or torchvision backbone, got '
            f'an ONNX file; take one of those: {onnx_path(settings.backbone)}'
        )
        raise TrainingError(msg)


def _check_readable(file: Path, what: str) -> None:
    try:
        with file.open('rb'):
            return
    except OSError as error:
        msg = f'{what} cannot be read ({error.strerror or error}): {file}'
        raise TrainingError(msg) from error
