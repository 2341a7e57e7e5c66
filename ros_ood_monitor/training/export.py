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

from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.training.backbones import BackboneTap, TappedBackbone
from ros_ood_monitor.training.scorer import Scorer

__all__ = ['check_backbone', 'check_scorer', 'export_backbone', 'export_scorer']

_LARGEST_BATCH = 64
_FEATURE_TOLERANCE = 1e-4
_OWN_OPERATORS = ('', 'ai.onnx')


def export_backbone(
    backbone: TappedBackbone, taps: Sequence[BackboneTap], height: int, width: int
) -> bytes:
    """
    Return the backbone's graph: ``image`` (N, h, w, 3) uint8 to one output per tap.

    Parameters
    ----------
    backbone : TappedBackbone
        The network.
    taps : sequence of BackboneTap
        Its outputs.
    height, width : int
        Input size, in px.

    Returns
    -------
    bytes
        An ONNX file.

    """
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    return _export(backbone, (example,), ({0: _batch()},), ['image'], [tap.output for tap in taps])


def export_scorer(scorer: Scorer, taps: Sequence[BackboneTap]) -> bytes:
    """
    Return the scorer's graph: one input per tap to ``raw_score`` (N,).

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
    batch = _batch()
    example = tuple(torch.ones((2, tap.channels)) for tap in taps)
    shapes = (tuple({0: batch} for _ in taps),)
    return _export(scorer, (example,), shapes, [tap.output for tap in taps], ['raw_score'])


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
    finally:
        logging.getLogger('torch.onnx').setLevel(level)
    assert program is not None
    return _stripped(program.model_proto)


def _stripped(model: Any) -> bytes:
    """Return the file without notes on where its nodes come from."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField('doc_string')
        if hasattr(part, 'metadata_props'):
            del part.metadata_props[:]
    del graph.value_info[:]
    graph.name = 'graph'
    if len(model.functions) > 0 or any(n.domain not in _OWN_OPERATORS for n in graph.node):
        msg = 'exported graph needs operators outside of the ONNX standard; change the module'
        raise EngineError(msg)
    return bytes(model.SerializeToString(deterministic=True))


def check_backbone(
    session: Any,
    backbone: TappedBackbone,
    taps: Sequence[BackboneTap],
    images: npt.NDArray[np.uint8],
) -> None:
    """
    Prove that the runtime computes the backbone's features.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The exported backbone as it is deployed.
    backbone : TappedBackbone
        The reference.
    taps : sequence of BackboneTap
        Outputs.
    images : ndarray of shape (k, h, w, 3), uint8
        k at least 2.

    Raises
    ------
    EngineError
        If a feature differs by more than 1e-4 of its tap's largest one.

    """
    with torch.no_grad():
        expected = [value.numpy() for value in backbone(torch.from_numpy(images))]
    outputs = [tap.output for tap in taps]
    together = session.run(outputs, {'image': images})
    alone = [session.run(outputs, {'image': image[np.newaxis]}) for image in images]
    for k, tap in enumerate(taps):
        allowed = _FEATURE_TOLERANCE * max(1.0, float(np.abs(expected[k]).max()))
        for got, how in (
            (together[k], f'in a batch of {len(images)}'),
            (np.concatenate([one[k] for one in alone]), 'one by one'),
        ):
            error = float(np.abs(got - expected[k]).max())
            _refuse_beyond(error, allowed, f'features of {tap.name!r} {how}')


def check_scorer(
    session: Any,
    reference: Scorer,
    taps: Sequence[BackboneTap],
    features: Sequence[npt.NDArray[np.float32]],
    *,
    tolerance: tuple[float, float],
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
    features : sequence of ndarray of shape (k, channels), float32
        One per tap; k at least 2.
    tolerance : tuple of float
        On raw_score: ``tolerance[0] + tolerance[1] * |raw_score|``.

    Raises
    ------
    EngineError
        If a score differs by more.

    """
    with torch.no_grad():
        expected = reference([torch.from_numpy(value).double() for value in features]).numpy()
    count = len(expected)
    names = [tap.output for tap in taps]
    batch = dict(zip(names, features, strict=True))
    (together,) = session.run(['raw_score'], batch)
    alone = [
        session.run(['raw_score'], {name: value[k : k + 1] for name, value in batch.items()})[0][0]
        for k in range(count)
    ]
    allowed = tolerance[0] + tolerance[1] * np.abs(expected)
    for got, how in ((together, f'in a batch of {count}'), (np.array(alone), 'one by one')):
        worst = int(np.argmax(np.abs(got - expected) / allowed))
        error = float(np.abs(got - expected)[worst])
        _refuse_beyond(error, float(allowed[worst]), f'raw_score {how}')


def _refuse_beyond(error: float, allowed: float, what: str) -> None:
    if not error <= allowed:  # also where it is NaN
        import onnxruntime

        msg = (
            f'ONNX Runtime {onnxruntime.__version__} computes other {what} than torch: '
            f'expected a difference of at most {allowed:.2e}, got {error:.2e}; '
            'use another version of ONNX Runtime'
        )
        raise EngineError(msg)
