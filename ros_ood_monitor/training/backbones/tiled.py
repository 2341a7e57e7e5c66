"""
Large frames in tiles: a backbone that cuts its input, and puts together what it sees in the parts.

The cutting is a part of the graph. So the network's input is one larger picture to everything
else: trainer, engines, goldens and maps know of no tiles. Every tile is seen as a picture of its
own, with the network's own border around it. Pooled features are the mean over all tiles, maps
are laid side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.base import Backbone, BackboneTap
from ros_ood_monitor.training.backbones.onnx_nodes import OnnxNodes, opset_of
from ros_ood_monitor.training.onnx_files import to_bytes

__all__ = ['NOT_TILED', 'TiledBackbone', 'Tiles', 'tiled_graph', 'tiles_of']

_PART, _OWN = 'part/', 'tiles/'


@dataclass(frozen=True)
class Tiles:
    """
    How a picture is cut: into equal parts, without overlap.

    Parameters
    ----------
    rows, columns : int
        How many of them, from top to bottom and from left to right.

    """

    rows: int
    columns: int

    @property
    def count(self) -> int:
        """Return how many pictures the network sees of a frame."""
        return self.rows * self.columns

    def check_frames(self, sizes: npt.NDArray[np.integer[Any]]) -> None:
        """
        Refuse frames with fewer pixels than there are parts.

        Parameters
        ----------
        sizes : ndarray of shape (n, 2), integer
            Width and height of frames, in px.

        Raises
        ------
        TrainingError
            If a part of one would not hold a pixel.

        """
        small = np.flatnonzero((sizes < (self.columns, self.rows)).any(axis=1))
        if small.size:
            width, height = sizes[small[0]].tolist()
            msg = (
                f'more tiles than pixels: {self.rows}x{self.columns} tiles need a frame of at '
                f'least {self.columns}x{self.rows} px, got {width}x{height}; leave out --tiles'
            )
            raise TrainingError(msg)

    def cut(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """
        Return the parts of pictures.

        Parameters
        ----------
        images : ndarray of shape (n, rows * h, columns * w, 3), uint8
            Pictures.

        Returns
        -------
        ndarray of shape (n * count, h, w, 3), uint8
            Picture after picture, row after row.

        """
        n, height, width, channels = images.shape
        h, w = height // self.rows, width // self.columns
        parts = images.reshape(n, self.rows, h, self.columns, w, channels)
        cut: npt.NDArray[np.uint8] = parts.swapaxes(2, 3).reshape(-1, h, w, channels)
        return cut  # (n * count, h, w, 3)

    def together(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """
        Return what is known of whole pictures from what is known of their parts.

        Parameters
        ----------
        values : ndarray of shape (n * count, channels) or (n * count, gh, gw, channels), float32
            Pooled features, or maps.

        Returns
        -------
        ndarray of shape (n, channels) or (n, rows * gh, columns * gw, channels), float32
            The mean, or the maps side by side.

        """
        whole: npt.NDArray[np.float32]
        if values.ndim == 2:
            whole = values.reshape(-1, self.count, values.shape[1]).mean(axis=1)
            return whole  # (n, channels)
        _, gh, gw, channels = values.shape
        parts = values.reshape(-1, self.rows, self.columns, gh, gw, channels).swapaxes(2, 3)
        whole = parts.reshape(-1, self.rows * gh, self.columns * gw, channels)
        return whole  # (n, rows * gh, columns * gw, channels)


NOT_TILED: Final = Tiles(1, 1)
"""A picture in one part."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TiledBackbone(Backbone):
    """
    A backbone that sees a picture part by part.

    Parameters
    ----------
    whole : Backbone
        What sees each of them.
    tiles : Tiles
        How pictures are cut.

    """

    whole: Backbone
    tiles: Tiles

    @classmethod
    def of(cls, whole: Backbone, tiles: Tiles) -> TiledBackbone:
        """
        Return a backbone that does so with the weights and taps of another one.

        Parameters
        ----------
        whole : Backbone
            The other one.
        tiles : Tiles
            How pictures are cut.

        Returns
        -------
        TiledBackbone
            For pictures that are larger by as much.

        """
        facts = {field.name: getattr(whole, field.name) for field in fields(Backbone)}
        height, width = whole.input_size
        facts['input_size'] = (height * tiles.rows, width * tiles.columns)
        return cls(**facts, whole=whole, tiles=tiles)

    def tile_size(self, height: int, width: int) -> tuple[int, int]:
        """
        Return the size of the parts of a picture.

        Parameters
        ----------
        height, width : int
            Of the picture, in px.

        Returns
        -------
        tuple of int
            Height and width, in px.

        Raises
        ------
        TrainingError
            If they would not be equal, or the network takes no such pictures.

        """
        rows, columns = self.tiles.rows, self.tiles.columns
        if height % rows or width % columns:
            msg = (
                f'input size cannot be cut into {rows}x{columns} equal tiles: expected a height '
                f'divisible by {rows} and a width divisible by {columns}, got {width}x{height} px'
            )
            raise TrainingError(msg)
        self.whole.check_size(height // rows, width // columns)
        return height // rows, width // columns

    def check_size(self, height: int, width: int) -> None:
        """Refuse a size of pictures that cannot be cut; see `Backbone.check_size`."""
        self.tile_size(height, width)

    def has_map(self, tap: BackboneTap) -> bool:
        """Tell whether a tap has a grid of features; see `Backbone.has_map`."""
        return self.whole.has_map(tap)

    def features(
        self,
        taps: Sequence[BackboneTap],
        images: npt.NDArray[np.uint8],
        maps: Sequence[BackboneTap] = (),
    ) -> list[npt.NDArray[np.float32]]:
        """Compute pooled features and maps of the parts; see `Backbone.features`."""
        values = self.whole.features(taps, self.tiles.cut(images), maps)
        return [self.tiles.together(value) for value in values]


def tiles_of(backbone: Backbone) -> Tiles:
    """Return how a backbone cuts its input; into one part where it does not."""
    return backbone.tiles if isinstance(backbone, TiledBackbone) else NOT_TILED


def tiled_graph(onnx_file: bytes, tiles: Tiles) -> bytes:
    """
    Return the graph of a `TiledBackbone`.

    Parameters
    ----------
    onnx_file : bytes
        The graph of the backbone that sees a part: ``image`` (N, h, w, 3) uint8 to pooled features
        (N, channels) and maps (N, gh, gw, channels).
    tiles : Tiles
        How pictures are cut.

    Returns
    -------
    bytes
        An ONNX file from ``image`` (N, rows * h, columns * w, 3) uint8 to outputs of the same
        names.

    """
    import onnx
    from onnx import compose, helper, TensorProto

    part = compose.add_prefix(onnx.load_from_string(onnx_file), _PART)
    graph, made = part.graph, OnnxNodes(_OWN, opset_of(part))
    h, w = _size(graph.input[0])
    rows, columns, count = tiles.rows, tiles.columns, tiles.count
    # cast before permuting: TensorRT permutes no uint8; the part's own cast then changes nothing
    x = made.add('Cast', ['image'], made.own('float'), to=TensorProto.FLOAT)
    x = made.reshape(x, made.own('rows'), [-1, rows, h, columns, w * 3])
    x = made.add('Transpose', [x], made.own('apart'), perm=[0, 1, 3, 2, 4])
    made.reshape(x, graph.input[0].name, [-1, h, w, 3])
    front, made.nodes = made.nodes, []
    outputs = []
    for value, shape in zip(graph.output, _shapes(onnx_file, graph), strict=True):
        name = value.name.removeprefix(_PART)
        each, channels = made.own(f'each_{name}'), shape[-1]
        if len(shape) == 1:
            x = made.reshape(value.name, each, [-1, count, channels])
            made.mean(x, name, [1])
            whole = [channels]
        else:
            gh, gw = shape[:2]
            x = made.reshape(value.name, each, [-1, rows, columns, gh, gw * channels])
            x = made.add('Transpose', [x], made.own(f'sorted_{name}'), perm=[0, 1, 3, 2, 4])
            whole = [rows * gh, columns * gw, channels]
            made.reshape(x, name, [-1, *whole])
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ['N', *whole]))
    image = helper.make_tensor_value_info(
        'image', TensorProto.UINT8, ['N', rows * h, columns * w, 3]
    )
    model = helper.make_model(
        helper.make_graph(
            [*front, *graph.node, *made.nodes],
            'graph',
            [image],
            outputs,
            [*graph.initializer, *made.tensors.values()],
            sparse_initializer=graph.sparse_initializer,
        ),
        opset_imports=part.opset_import,
        ir_version=part.ir_version,
        producer_name=part.producer_name,
    )
    return to_bytes(model)


def _shapes(onnx_file: bytes, graph: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the outputs of one picture; a user's own network may state none."""
    blank = np.zeros([1, *_size(graph.input[0]), 3], np.uint8)
    names = [value.name.removeprefix(_PART) for value in graph.output]
    found = open_session(onnx_file).run(names, {'image': blank})
    return [value.shape[1:] for value in found]


def _size(value: Any) -> tuple[int, int]:
    _, height, width, _ = (axis.dim_value for axis in value.type.tensor_type.shape.dim)
    return height, width
