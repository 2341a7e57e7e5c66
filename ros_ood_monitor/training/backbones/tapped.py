"""Networks of torch as backbones: normalisation in front, mean pooling and maps behind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn, Tensor

from ros_ood_monitor.training.backbones.base import Backbone, BackboneTap

__all__ = ['NETWORK_PREFIX', 'MapSource', 'TappedBackbone', 'TorchBackbone']

NETWORK_PREFIX = 'network.'
"""In front of the names of weights in a `TappedBackbone`."""


class MapSource(nn.Module):
    """A network cut after its last tap; calling it yields one (N, channels, gh, gw) per tap."""

    @abstractmethod
    def forward(self, x: Tensor) -> Iterator[Tensor]:
        """
        Yield the map of every tap.

        Parameters
        ----------
        x : Tensor of shape (N, 3, h, w), float32
            Normalised pixels.

        Yields
        ------
        Tensor of shape (N, channels, gh, gw)
            In the order of the network.

        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class TorchBackbone(Backbone):
    """
    A backbone that is a module of torch.

    Parameters
    ----------
    network : nn.Module
        Frozen, in evaluation mode.

    """

    network: Any

    @abstractmethod
    def cut(self, taps: Sequence[BackboneTap]) -> MapSource:
        """
        Return the part of the network that some taps need.

        Parameters
        ----------
        taps : sequence of BackboneTap
            In the order of the network.

        Returns
        -------
        MapSource
            It shares its weights with ``network``.

        """

    def last_stage(self) -> nn.Module | None:
        """
        Return what is between the last tap but one and the last one.

        Returns
        -------
        nn.Module or None
            Map (N, channels, gh, gw) to map; it shares its weights with ``network``. None where
            the last tap needs more than the map in front of it.

        """
        return None

    def normalized(self, images: Tensor) -> Tensor:
        """
        Return what the network takes.

        Parameters
        ----------
        images : Tensor of shape (n, h, w, 3), uint8
            RGB pixels.

        Returns
        -------
        Tensor of shape (n, 3, h, w), float32
            Less the mean, divided by the deviation.

        """
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (images.float().permute(0, 3, 1, 2) - mean) / std  # (n, 3, h, w)

    def features(
        self,
        taps: Sequence[BackboneTap],
        images: npt.NDArray[np.uint8],
        maps: Sequence[BackboneTap] = (),
    ) -> list[npt.NDArray[np.float32]]:
        """Compute pooled features and maps; see `Backbone.features`."""
        with torch.no_grad():
            values = TappedBackbone(self, taps, maps)(torch.from_numpy(images))
        return [value.numpy() for value in values]


class TappedBackbone(nn.Module):
    """
    A backbone from uint8 pictures to the features of some taps, cut after the last one.

    Parameters
    ----------
    backbone : TorchBackbone
        A network with its preprocessing.
    taps : sequence of BackboneTap
        Taps whose pooled features are given, in the order of the network.
    maps : sequence of BackboneTap
        Taps whose maps are given behind them, in the order of the network.

    """

    mean: Any
    std: Any

    def __init__(
        self,
        backbone: TorchBackbone,
        taps: Sequence[BackboneTap],
        maps: Sequence[BackboneTap] = (),
    ) -> None:
        super().__init__()
        self._channelwise('mean', backbone.mean)
        self._channelwise('std', backbone.std)
        cut = backbone.in_order([*taps, *maps])
        self.network = backbone.cut(cut)
        self.pooled = [cut.index(tap) for tap in taps]
        self.mapped = [cut.index(tap) for tap in maps]
        self.eval().requires_grad_(False)

    def _channelwise(self, name: str, values: Sequence[float]) -> None:
        if len(set(values)) == 1:  # a number is one operation less to fold than three of them
            setattr(self, name, values[0])
        else:
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """
        Return the mean-pooled features of every tap, and the maps that are wanted.

        Parameters
        ----------
        image : Tensor of shape (N, h, w, 3), uint8
            RGB pixels.

        Returns
        -------
        tuple of Tensor
            One (N, channels) float32 per tap, then one (N, gh, gw, channels) per map.

        """
        # cast before permuting: TensorRT permutes no uint8
        x = image.float().permute(0, 3, 1, 2)  # (N, 3, h, w)
        x = (x - self.mean) / self.std
        grids = list(self.network(x))  # (N, channels, gh, gw) each
        pooled = [grids[k].mean(dim=(2, 3)) for k in self.pooled]  # (N, channels) each
        return (*pooled, *(grids[k].permute(0, 2, 3, 1) for k in self.mapped))
