"""What every backbone has: taps, and the facts that belong to its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import re
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbone_names import check_taps

__all__ = ['Backbone', 'BackboneTap', 'Classifier', 'check_outputs', 'tap_columns']

_TAKEN: Final = ('image', 'raw_score', 'patch_score')


@dataclass(frozen=True)
class BackboneTap:
    """
    A stage whose pooled output can be scored.

    Parameters
    ----------
    name : str
        As the network's library names the stage, or ``head``: the penultimate features.
    channels : int
        Width of its features.
    reduction : int
        Input pixels per cell of its grid, in px; the side of the picture where there is no grid.

    """

    name: str
    channels: int
    reduction: int

    @property
    def output(self) -> str:
        """Name of the tap in the ONNX graphs."""
        return re.sub(r'\W', '_', self.name)

    @property
    def map_output(self) -> str:
        """Name of the tap's map in the ONNX graphs."""
        return f'{self.output}_map'


@dataclass(frozen=True, eq=False)
class Classifier:
    """
    The linear layer that a network had behind its deepest tap: ``logits = weight x + bias``.

    Parameters
    ----------
    weight : ndarray of shape (classes, channels), float64
        For pooled features as the tap gives them.
    bias : ndarray of shape (classes,), float64
        Of every class.

    """

    weight: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Backbone(ABC):
    """
    A pretrained network with the facts that belong to its weights.

    Parameters
    ----------
    name : str
        The network as its library names it.
    taps : tuple of BackboneTap
        All stages, in the order of the network.
    mean, std : tuple of float
        Of the red, green and blue channel, in grey levels (0 to 255).
    input_size : tuple of int
        Height and width that the weights were made for, in px.
    weights, weights_sha256, licence : str
        Where the weights come from, without any place on disk.
    fixed_size : bool
        Whether the network takes pictures of ``input_size`` only.
    classifier : Classifier or None
        Behind the deepest tap, where the weights hold it; it is no part of the graph.

    """

    name: str
    taps: tuple[BackboneTap, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    input_size: tuple[int, int]
    weights: str
    weights_sha256: str
    licence: str
    fixed_size: bool = False
    classifier: Classifier | None = None

    def select(self, names: Sequence[str] | str = 'all') -> tuple[BackboneTap, ...]:
        """
        Return taps by name, in the order of the network.

        Parameters
        ----------
        names : sequence of str, or 'all'
            Names of taps; ``head`` is the deepest one of any backbone.

        Returns
        -------
        tuple of BackboneTap
            At least one.

        Raises
        ------
        TrainingError
            If a name is unknown, or none is given.

        """
        wanted = check_taps(names, [tap.name for tap in self.taps])
        return tuple(tap for tap in self.taps if tap.name in wanted)

    def check_size(self, height: int, width: int) -> None:
        """
        Refuse a size of pictures that the network cannot take.

        Parameters
        ----------
        height, width : int
            Of the network's input, in px.

        Raises
        ------
        TrainingError
            If the network takes another size only.

        """
        if self.fixed_size and (height, width) != self.input_size:
            rows, columns = self.input_size
            msg = (
                f'input size does not fit backbone {self.name!r}: it takes {columns}x{rows} px '
                f'only, got {width}x{height}; set the input size to {columns}x{rows}'
            )
            raise TrainingError(msg)

    def has_map(self, tap: BackboneTap) -> bool:
        """Tell whether a tap has a grid of features, not pooled ones alone."""
        return tap in self.taps

    def in_order(self, taps: Iterable[BackboneTap]) -> tuple[BackboneTap, ...]:
        """Return taps in the order of the network, each once."""
        wanted = {tap.name for tap in taps}
        return tuple(tap for tap in self.taps if tap.name in wanted)

    @abstractmethod
    def features(
        self,
        taps: Sequence[BackboneTap],
        images: npt.NDArray[np.uint8],
        maps: Sequence[BackboneTap] = (),
    ) -> list[npt.NDArray[np.float32]]:
        """
        Compute features with the library that the network comes from.

        Parameters
        ----------
        taps : sequence of BackboneTap
            Some of ``taps``, in their order.
        images : ndarray of shape (n, h, w, 3), uint8
            RGB pixels.
        maps : sequence of BackboneTap
            Taps whose maps are wanted, too.

        Returns
        -------
        list of ndarray, float32
            One (n, channels) per tap, pooled, then one (n, gh, gw, channels) per map: the
            reference for every exported graph.

        """


def tap_columns(taps: Sequence[BackboneTap]) -> dict[str, slice]:
    """
    Return where each tap's features lie when those of all taps stand side by side.

    Parameters
    ----------
    taps : sequence of BackboneTap
        In their order.

    Returns
    -------
    dict of str to slice
        By the tap's name.

    """
    ends = np.cumsum([tap.channels for tap in taps]).tolist()
    return {tap.name: slice(end - tap.channels, end) for tap, end in zip(taps, ends, strict=True)}


def check_outputs(
    taps: Sequence[BackboneTap], name: str, maps: Sequence[BackboneTap] | None = None
) -> None:
    """
    Refuse taps that cannot be told apart in the graphs, and a backbone without any.

    Parameters
    ----------
    taps : sequence of BackboneTap
        All taps of a backbone.
    name : str
        Of the backbone.
    maps : sequence of BackboneTap, optional
        Those with a grid of features; all of them by default.

    Raises
    ------
    TrainingError
        If there is no tap, or an output or map of one has the name of another's, or one that the
        graphs have of their own.

    """
    if not taps:
        msg = (
            f'backbone without a spatial map: {name!r} gives no grid of features to pool; '
            'choose another network'
        )
        raise TrainingError(msg)
    given: dict[str, list[str]] = {}
    for tap in taps:
        given.setdefault(tap.output, []).append(tap.name)
    for tap in taps if maps is None else maps:
        given.setdefault(tap.map_output, []).append(tap.name)
    for output, names in given.items():
        if output in _TAKEN:
            msg = (
                f'tap of backbone {name!r} has a name that the graphs of a bundle use themselves '
                f'({", ".join(_TAKEN)}): rename {names[0]}'
            )
            raise TrainingError(msg)
        if len(names) > 1:
            msg = (
                f'taps of backbone {name!r} cannot be told apart: rename one of {", ".join(names)}'
            )
            raise TrainingError(msg)
