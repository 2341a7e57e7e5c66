"""Exported backbones on disk: the same network at the same size is exported once."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Final

from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.training import backbones, onnx_files
from ros_ood_monitor.training.backbones import Backbone, BackboneTap, TiledBackbone, TorchBackbone
from ros_ood_monitor.training.backbones.tiled import tiled_graph
from ros_ood_monitor.training.export import graphs
from ros_ood_monitor.training.export.graphs import export_backbone
from ros_ood_monitor.training.features.cache import cache_key, explained

__all__ = ['get_or_export']

_LIBRARIES: Final = ('torch', 'torchvision', 'timm', 'onnx', 'onnxscript')
_DIGEST: Final = 32


def get_or_export(
    backbone: Backbone,
    taps: Sequence[BackboneTap],
    height: int,
    width: int,
    maps: Sequence[BackboneTap] = (),
    *,
    cache: Path | None,
) -> bytes:
    """
    Return what `export_backbone` returns, from the cache where it is there.

    Parameters
    ----------
    backbone : Backbone
        The network.
    taps : sequence of BackboneTap
        Its pooled outputs.
    height, width : int
        Input size, in px.
    maps : sequence of BackboneTap
        Its maps.
    cache : Path or None
        The user's folder of cached features; nothing is kept without one, nor of a backbone that
        is an ONNX file already.

    Returns
    -------
    bytes
        An ONNX file.

    Raises
    ------
    TrainingError
        If the network cannot be exported, or the cache cannot be written.
    EngineError
        If the graph needs operators outside of the ONNX standard.

    """
    if isinstance(backbone, TiledBackbone):
        size = backbone.tile_size(height, width)
        part = get_or_export(backbone.whole, taps, *size, maps, cache=cache)
        return tiled_graph(part, backbone.tiles)
    if cache is None or not isinstance(backbone, TorchBackbone):
        return export_backbone(backbone, taps, height, width, maps)
    key = cache_key(
        backbone=backbone.name,
        weights=backbone.weights_sha256,
        pixels=[backbone.mean, backbone.std],
        taps=[[tap.name, tap.channels, tap.reduction] for tap in taps],
        maps=[tap.name for tap in maps],
        input=[height, width],
        versions=[_version(name) for name in _LIBRARIES],
        exporter=_own_digest(),
    )
    file = cache / 'backbones' / key
    kept = _read(file)
    if kept is not None:
        return kept
    onnx = export_backbone(backbone, taps, height, width, maps)
    with explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        with new_file(file) as aside:
            aside.write_bytes(hashlib.sha256(onnx).digest() + onnx)
    return onnx


def _read(file: Path) -> bytes | None:
    """Return what was kept; None where there is nothing, or something else than was written."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, onnx = content[:_DIGEST], content[_DIGEST:]
    return onnx if hashlib.sha256(onnx).digest() == digest else None


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ''


def _own_digest() -> str:
    """Return the digest of our exporter: another version of it may write other bytes."""
    files = [Path(str(module.__file__)) for module in (graphs, onnx_files)]
    files += sorted(Path(str(backbones.__file__)).parent.glob('*.py'))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
