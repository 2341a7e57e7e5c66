"""
ONNX files of backbone and scorer, and the proof that the deployed runtime computes the same.

The files hold no names of modules or places on disk, no stack traces and no shape notes, so equal
weights give equal bytes. Parity is tried with one frame and with a batch: an optimiser of the
runtime may be right for one row and wrong for more.
"""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import io
import logging
from typing import Any
import warnings

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.errors import EngineError, TrainingError
from ros_ood_monitor.training.backbones import (
    Backbone,
    BackboneTap,
    OnnxBackbone,
    TappedBackbone,
    TiledBackbone,
    TorchBackbone,
)
from ros_ood_monitor.training.backbones.tapped import NETWORK_PREFIX
from ros_ood_monitor.training.backbones.tiled import tiled_graph
from ros_ood_monitor.training.export.scorer import Scorer
from ros_ood_monitor.training.onnx_files import rename_weights, to_bytes

__all__ = [
    'export_backbone',
    'export_scorer',
    'output_names',
    'prove_backbone',
    'prove_scorer',
]

_LARGEST_BATCH = 64
_FEATURE_TOLERANCE = 1e-4


def export_backbone(
    backbone: Backbone,
    taps: Sequence[BackboneTap],
    height: int,
    width: int,
    maps: Sequence[BackboneTap] = (),
) -> bytes:
    """
    Return the backbone's graph: ``image`` (N, h, w, 3) uint8 to the features of some taps.

    Parameters
    ----------
    backbone : Backbone
        The network: a module of torch, or an ONNX file.
    taps : sequence of BackboneTap
        Its pooled outputs, (N, channels).
    height, width : int
        Input size, in px.
    maps : sequence of BackboneTap
        Its maps, (N, gh, gw, channels).

    Returns
    -------
    bytes
        An ONNX file.

    Raises
    ------
    TrainingError
        If the network takes no pictures of that size, or cannot be exported.
    EngineError
        If the graph needs operators outside of the ONNX standard.

    """
    if isinstance(backbone, OnnxBackbone):
        return backbone.graph(taps, height, width, maps)
    if isinstance(backbone, TiledBackbone):
        size = backbone.tile_size(height, width)
        return tiled_graph(export_backbone(backbone.whole, taps, *size, maps), backbone.tiles)
    assert isinstance(backbone, TorchBackbone)
    backbone.check_size(height, width)
    tapped = TappedBackbone(backbone, taps, maps)
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    names = output_names(taps, maps)
    return _export(tapped, (example,), ({0: _batch()},), ['image'], names)


def output_names(taps: Sequence[BackboneTap], maps: Sequence[BackboneTap]) -> list[str]:
    """Return what passes between the two graphs: pooled features, then maps."""
    return [*(tap.output for tap in taps), *(tap.map_output for tap in maps)]


def export_scorer(scorer: Scorer, taps: Sequence[BackboneTap]) -> bytes:
    """
    Return the scorer's graph: one input per tap to ``raw_score`` (N,).

    A scorer of maps takes those, too, and gives ``patch_score`` (N, gh, gw).

    Parameters
    ----------
    scorer : Scorer
        In float32.
    taps : sequence of BackboneTap
        Its inputs.

    Returns
    -------
    bytes
        An ONNX file.

    """
    pooled = tuple(torch.ones((2, tap.channels)) for tap in taps)
    if scorer.cells is None:
        return _export(scorer, (pooled,), _batches(pooled), output_names(taps, ()), ['raw_score'])
    plan = scorer.cells.plan
    example = (pooled, plan.example(2))
    names = output_names(taps, plan.taps)
    return _export(scorer, example, _batches(*example), names, ['raw_score', 'patch_score'])


def _batches(*groups: Sequence[torch.Tensor]) -> tuple[Any, ...]:
    batch = _batch()
    return tuple(tuple({0: batch} for _ in group) for group in groups)


def _batch() -> Any:
    return torch.export.Dim('N', min=1, max=_LARGEST_BATCH)


def _export(
    module: nn.Module,
    example: tuple[Any, ...],
    shapes: tuple[Any, ...],
    inputs: list[str],
    outputs: list[str],
) -> bytes:
    # the exporter warns about its own innards and prints its progress
    level = logging.getLogger('torch.onnx').level
    try:
        logging.getLogger('torch.onnx').setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                external_data=False,
                dynamic_shapes=shapes,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
        assert program is not None
    except RuntimeError as error:  # the exporter's own errors are of this kind
        msg = f'network cannot be exported ({str(error).strip().splitlines()[0]}); choose another'
        raise TrainingError(msg) from error
    finally:
        logging.getLogger('torch.onnx').setLevel(level)
    model = program.model_proto
    rename_weights(model, NETWORK_PREFIX)
    return to_bytes(model)


def prove_backbone(
    session: Any,
    reference: Backbone,
    taps: Sequence[BackboneTap],
    images: npt.NDArray[np.uint8],
    maps: Sequence[BackboneTap] = (),
) -> None:
    """
    Prove that the runtime computes the backbone's features.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The exported backbone as it is deployed.
    reference : Backbone
        The network in its own library: torch, or ONNX Runtime with the unchanged file.
    taps : sequence of BackboneTap
        Outputs.
    images : ndarray of shape (k, h, w, 3), uint8
        k at least 2.
    maps : sequence of BackboneTap
        Taps whose maps are outputs, too.

    Raises
    ------
    EngineError
        If a feature differs by more than 1e-4 of its tap's largest one.

    """
    expected = reference.features(taps, images, maps)
    outputs = output_names(taps, maps)
    together = session.run(outputs, {'image': images})
    alone = [session.run(outputs, {'image': image[np.newaxis]}) for image in images]
    for k, tap in enumerate([*taps, *maps]):
        allowed = _FEATURE_TOLERANCE * float(np.abs(expected[k]).max())
        for got, how in (
            (together[k], f'in a batch of {len(images)}'),
            (np.concatenate([one[k] for one in alone]), 'one by one'),
        ):
            error = float(np.abs(got - expected[k]).max())
            _refuse_beyond(error, allowed, f'features of {tap.name!r} {how}')


def prove_scorer(
    session: Any,
    reference: Scorer,
    taps: Sequence[BackboneTap],
    features: Sequence[npt.NDArray[np.float32]],
    *,
    tolerance: Tolerance,
) -> None:
    """
    Prove that the runtime computes the scores, against the same densities in float64.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The exported scorer as it is deployed.
    reference : Scorer
        In float64.
    taps : sequence of BackboneTap
        Inputs.
    features : sequence of ndarray, float32
        One (k, channels) per tap, then one (k, gh, gw, channels) per stage of the map; k at
        least 2.
    tolerance : Tolerance
        That of the goldens.

    Raises
    ------
    EngineError
        If a score differs by more.

    """
    maps = () if reference.cells is None else reference.cells.plan.taps
    names = output_names(taps, maps)
    given = [torch.from_numpy(value).double() for value in features]
    with torch.no_grad():
        answer = reference(given[: len(taps)], given[len(taps) :])
    wanted = [answer] if isinstance(answer, torch.Tensor) else list(answer)
    outputs = ['raw_score', 'patch_score'][: len(wanted)]
    batch = dict(zip(names, features, strict=True))
    count = len(features[0])
    together = session.run(outputs, batch)
    alone = [
        session.run(outputs, {name: value[k : k + 1] for name, value in batch.items()})
        for k in range(count)
    ]
    for k, (name, expected) in enumerate(zip(outputs, wanted, strict=True)):
        least = tolerance.absolute if name == 'raw_score' else tolerance.map_absolute
        reference_values = expected.numpy()  # (count,) or (count, gh, gw)
        allowed = least + tolerance.relative * np.abs(reference_values)
        for got, how in (
            (together[k], f'in a batch of {count}'),
            (np.concatenate([one[k] for one in alone]), 'one by one'),
        ):
            difference = np.abs(got - reference_values)
            worst = np.unravel_index(int(np.argmax(difference / allowed)), difference.shape)
            _refuse_beyond(float(difference[worst]), float(allowed[worst]), f'{name} {how}')


def _refuse_beyond(error: float, allowed: float, what: str) -> None:
    if not error <= allowed:  # also where it is NaN
        import onnxruntime

        msg = (
            f'ONNX Runtime {onnxruntime.__version__} computes other {what} than the reference: '
            f'expected a difference of at most {allowed:.2e}, got {error:.2e}; '
            'use another version of ONNX Runtime'
        )
        raise EngineError(msg)
