"""Frozen backbones: pretrained weights, the facts that belong to them, and their taps."""

from __future__ import annotations

from pathlib import Path

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbone_names import (
    check_backbone_name,
    LITE_SIZES,
    MOBILENET,
    onnx_path,
    PACKAGED_TAPS,
    TORCHVISION,
)
from ros_ood_monitor.training.backbones.base import Backbone, BackboneTap, tap_columns
from ros_ood_monitor.training.backbones.lite import load_lite
from ros_ood_monitor.training.backbones.mobilenet import load_mobilenet
from ros_ood_monitor.training.backbones.onnx_file import load_onnx, OnnxBackbone
from ros_ood_monitor.training.backbones.tapped import TappedBackbone, TorchBackbone
from ros_ood_monitor.training.backbones.tiled import NOT_TILED, TiledBackbone, Tiles, tiles_of
from ros_ood_monitor.training.backbones.torchvision_models import known_models, load_torchvision

__all__ = [
    'NOT_TILED',
    'Backbone',
    'BackboneTap',
    'OnnxBackbone',
    'TappedBackbone',
    'TiledBackbone',
    'Tiles',
    'TorchBackbone',
    'available_backbones',
    'load_backbone',
    'tap_columns',
    'tiles_of',
]


def available_backbones() -> list[str]:
    """
    Return the names that `load_backbone` takes.

    Returns
    -------
    list of str
        Those with packaged weights first; a user's own ONNX file has no name of its own.

    """
    return [*PACKAGED_TAPS, *(f'{TORCHVISION}{model}' for model in known_models())]


def load_backbone(
    name: str = 'efficientnet_lite0', *, weights: Path | str | None = None
) -> Backbone:
    """
    Load a pretrained backbone.

    Parameters
    ----------
    name : str
        ``efficientnet_lite0``, ``efficientnet_lite1``, ``efficientnet_lite2`` or ``mobilenet_v2``,
        whose weights are packages; ``torchvision:<model>`` or ``torchvision:<model>:<weights>``;
        ``onnx:<file>``, or the name of a file that ends in ``.onnx``.
    weights : Path or str, optional
        A state dict to use instead of the named weights.

    Returns
    -------
    Backbone
        Frozen.

    Raises
    ------
    TrainingError
        If the name is unknown, a package or file is missing, the weights do not fit the network,
        or the network has no spatial map.
    EngineError
        If ONNX Runtime refuses a user's file.

    """
    check_backbone_name(name)
    file = None if weights is None else Path(weights)
    if name in LITE_SIZES:
        return load_lite(name, weights=file)
    if name == MOBILENET:
        return load_mobilenet(weights=file)
    if name.startswith(TORCHVISION):
        return load_torchvision(name.removeprefix(TORCHVISION), weights=file)
    if file is not None:
        msg = f'weights of an ONNX backbone lie in its own file; leave them out: {file}'
        raise TrainingError(msg)
    return load_onnx(onnx_path(name))
