"""
The stages of a torchvision classifier: found by running it, named as its library names them.

A stage is the deepest part of the network at one grid and width. The network is traced with
``torch.fx`` and run once, which gives the shape behind every part; two sizes of the picture that
differ in their ratio tell the spatial axes from the channels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import math
from typing import Any

import torch
from torch import fx, nn

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones.packages import require

__all__ = ['Stage', 'find_stages']

_PROBE = (256, 320)
_CLASSIFIERS = ('classifier', 'fc', 'head', 'heads')
_UNEVEN = 0.2  # octaves by which the reductions of height and width may differ: padding


@dataclass(frozen=True)
class Stage:
    """
    A part of a network with a map behind it.

    Parameters
    ----------
    name : str
        As the tap is called.
    node : str
        As ``torchvision.models.feature_extraction`` names it.
    channels, reduction : int
        Width, and input pixels per cell in px.
    layout : {'nchw', 'nhwc', 'tokens'}
        Of the map; tokens are (N, 1 + cells, channels), the first one of them the class.

    """

    name: str
    node: str
    channels: int
    reduction: int
    layout: str

    @property
    def grid(self) -> tuple[int, int, str]:
        """Return what parts of one stage have in common."""
        return self.channels, self.reduction, self.layout


def find_stages(network: nn.Module, input_size: tuple[int, int]) -> tuple[list[Stage], bool]:
    """
    Find the stages of a network.

    Parameters
    ----------
    network : nn.Module
        A classifier of torchvision in evaluation mode.
    input_size : tuple of int
        Height and width that it certainly takes, in px.

    Returns
    -------
    list of Stage
        In the order of the network; empty where it has no spatial map.
    bool
        Whether the network takes pictures of that size only.

    Raises
    ------
    TrainingError
        If the network cannot be traced.

    """
    shapes, size = _shapes(network, input_size)
    if isinstance(network, require('torchvision').models.VisionTransformer):
        return _transformer_stages(network, shapes, size), True
    found = [
        (_measure(name, name, shapes[last], size), part)
        for name, part in _parts(network)
        if (last := _last_node(shapes, name)) is not None
    ]
    stages = _merge([(stage, part) for stage, part in found if stage is not None])
    return _with_head(stages, shapes, size), size != _PROBE


def _shapes(
    network: nn.Module, input_size: tuple[int, int]
) -> tuple[dict[str, tuple[int, ...]], tuple[int, int]]:
    """Return the shape behind every node of the traced network, and the size it was run with."""
    from torchvision.models.feature_extraction import NodePathTracer

    tracer = NodePathTracer()
    try:
        graph = tracer.trace(network)
    except Exception as error:  # tracing may fail with whatever the network does
        msg = (
            f'backbone {type(network).__name__!r} cannot be traced ({error}); '
            'choose another network, or export it and give the ONNX file'
        )
        raise TrainingError(msg) from error
    recorder = _Recorder(fx.GraphModule(tracer.root, graph), tracer.node_to_qualname)
    for size in (_PROBE, input_size):
        try:
            recorder.shapes.clear()
            with torch.no_grad():
                recorder.run(torch.zeros(1, 3, *size))
        except (AssertionError, RuntimeError, ValueError) as error:
            if size == input_size:
                msg = (
                    f'backbone {type(network).__name__!r} cannot be run ({error}); '
                    'choose another network, or export it and give the ONNX file'
                )
                raise TrainingError(msg) from error
        else:
            break
    return recorder.shapes, size


class _Recorder(fx.Interpreter):
    """Runs a traced network and notes the shape of everything that it computes."""

    def __init__(self, module: fx.GraphModule, names: Mapping[fx.Node, str]) -> None:
        super().__init__(module)
        self.extra_traceback = False
        self.names = names
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and n in self.names and n.op != 'placeholder':
            self.shapes[self.names[n]] = tuple(value.shape)
        return value


def _last_node(shapes: Mapping[str, Any], part: str) -> str | None:
    """Return the last node computed inside a part of the network."""
    inside = [node for node in shapes if node == part or node.startswith(f'{part}.')]
    return inside[-1] if inside else None


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what may be a stage: children, and the children of mere containers."""
    for name, child in network.named_children():
        if name in _CLASSIFIERS:
            return
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 0:
            yield from ((f'{name}.{inner}', part) for inner, part in child.named_children())
        else:
            yield name, child


def _measure(name: str, node: str, shape: Sequence[int], size: tuple[int, int]) -> Stage | None:
    """Return a stage of that shape, or None where there is no grid in it."""
    if len(shape) != 4:
        return None
    fits = []
    for layout, channels, cells in (
        ('nchw', shape[1], (shape[2], shape[3])),
        ('nhwc', shape[3], (shape[1], shape[2])),
    ):
        if cells[0] * cells[1] < 2 or cells[0] > size[0] or cells[1] > size[1]:
            continue
        rows, columns = size[0] / cells[0], size[1] / cells[1]
        exact = rows == columns and rows.is_integer()
        # padding and cropping at the borders make the ratio uneven
        reduction = int(rows) if exact else 2 ** round(math.log2(math.sqrt(rows * columns)))
        uneven = abs(math.log2(rows / columns))
        fits.append((uneven, Stage(name, node, channels, reduction, layout)))
    uneven, stage = min(fits, key=lambda fit: fit[0], default=(_UNEVEN, None))
    return stage if uneven < _UNEVEN else None


def _merge(found: Sequence[tuple[Stage, nn.Module]]) -> list[Stage]:
    """Return the deepest part of every run of equal grid and width that holds weights."""
    runs: list[list[tuple[Stage, nn.Module]]] = []
    for stage, part in found:
        if runs and runs[-1][-1][0].grid == stage.grid:
            runs[-1].append((stage, part))
        else:
            runs.append([(stage, part)])
    stages = [[stage for stage, _ in run] for run in runs if _counts(run)]
    blocks = [any(_is_block(part) for _, part in run) for run in runs if _counts(run)]
    # single layers in front of the first block are the stem, which is no stage
    first = blocks.index(True) if True in blocks else 0
    return [_named([stage.name for stage, _ in found], run) for run in stages[first:]]


def _counts(run: Sequence[tuple[Stage, nn.Module]]) -> bool:
    return any(True for _, part in run for _ in part.parameters())


def _is_block(part: nn.Module) -> bool:
    return any(True for _ in part.children())


def _named(names: Sequence[str], run: Sequence[Stage]) -> Stage:
    """Return the deepest stage of a run, under its container's name where the run is all of it."""
    container = run[-1].name.rpartition('.')[0]
    siblings = [name for name in names if container and name.startswith(f'{container}.')]
    whole = bool(siblings) and set(siblings) <= {stage.name for stage in run}
    return replace(run[-1], name=container, node=container) if whole else run[-1]


def _with_head(
    stages: list[Stage], shapes: Mapping[str, Sequence[int]], size: tuple[int, int]
) -> list[Stage]:
    """Take what is computed behind the last stage at the same grid (DenseNet's ReLU) with it."""
    if not stages:
        return stages
    last = stages[-1]
    behind = list(shapes)[list(shapes).index(str(_last_node(shapes, last.node))) + 1 :]
    for node in behind:
        if node.split('.')[0] in _CLASSIFIERS:
            break
        head = _measure('head', node, shapes[node], size)
        if head is not None and head.grid == last.grid:
            stages = [*stages[:-1], head]
    return stages


def _transformer_stages(
    network: Any, shapes: Mapping[str, Sequence[int]], size: tuple[int, int]
) -> list[Stage]:
    """Return all layers of a vision transformer, the last one behind its normalisation."""
    patch = int(network.patch_size)
    names = [f'encoder.layers.{name}' for name, _ in network.encoder.layers.named_children()]
    return [
        Stage(name, name, shapes[str(_last_node(shapes, name))][2], patch, 'tokens')
        for name in (*names[:-1], 'encoder.ln')
    ]
