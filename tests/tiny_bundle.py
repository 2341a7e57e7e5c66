"""
A real bundle in a few kilobytes, made in a fraction of a second without torch.

It knows grey noise: pictures around (128, 128, 128) with brightness and contrast varying a little
score as normal, saturated colour or flat black as anomalous. Backbone: two 1x1 convolutions with
seeded weights behind strided mean pools, tapped twice. Scorer: mean squared z of every tap against
the means and deviations of seeded frames, summed. With maps, the second tap's grid goes to the
scorer, too, which makes a patch_score of it: the mean squared z of every cell, the cells sharing
means and deviations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper, TensorProto

from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.calibration import Calibration
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.preprocess import Preprocessor, RESIZE_RULE

MEAN, STD = 127.0, 64.0
TAPS = {'blocks_0': 8, 'blocks_1': 12}
MAP = 'blocks_1_map'
FITTED, HELD_OUT = 60, 200


def make_tiny_bundle(
    path: str | Path,
    *,
    height: int = 32,
    width: int = 48,
    precisions: Sequence[str] = ('fp32',),
    maps: bool = False,
) -> Bundle:
    """
    Write the bundle and return it loaded; equal arguments give an equal digest.

    Parameters
    ----------
    path : str or Path
        Target folder.
    height, width : int
        Input size of its network, in px; at least 8.
    precisions : sequence of str
        What it holds, fp32 first.
    maps : bool
        Whether it answers with a patch_score, and knows what that means.

    """
    backbone = make_backbone(height, width, maps=maps)
    images = np.concatenate(list(_frames(FITTED + HELD_OUT, height, width)))  # (n, h, w, 3)
    names = [*TAPS, *([MAP] if maps else [])]
    # taps x (n, channels), and (n, gh, gw, channels) with maps
    features = open_session(backbone).run(names, {'image': images})
    scorer = make_scorer([tap[:FITTED] for tap in features])
    files, verify = {'scorer.onnx': scorer}, {}
    for precision in precisions:
        model = _in_precision(backbone, precision, images[:FITTED])
        session = open_session(model, precision=precision)
        held_out = dict(zip(names, session.run(names, {'image': images[FITTED:]}), strict=True))
        wanted = ['raw_score', *(['patch_score'] if maps else [])]
        raw_score, *patch_score = open_session(scorer).run(wanted, held_out)  # (HELD_OUT,)
        raw_score = raw_score.astype(np.float64)
        calibration = Calibration.fit(
            raw_score, frame_rate_hz=10.0, patch_score=patch_score[0] if maps else None
        )
        goldens = Goldens(images[FITTED : FITTED + 3], raw_score[:3])
        files[f'backbone.{precision}.onnx'] = model
        files[f'calibration.{precision}.npz'] = calibration.to_bytes()
        files[f'goldens.{precision}.npz'] = goldens.to_bytes()
        tolerance = {'absolute': 0.01 * float(raw_score.std()), 'relative': 1e-5}
        verify.update(tolerance if precision == 'fp32' else {precision: tolerance})
    manifest = _manifest(height, width, verify=verify, precisions=list(precisions))
    return write_bundle(path, manifest=manifest, files=files)


def _in_precision(backbone: bytes, precision: str, images: npt.NDArray[np.uint8]) -> bytes:
    if precision == 'fp32':
        return backbone
    from ros_ood_monitor.training.precisions import convert

    return convert(backbone, precision, calibration_images=images)


def _frames(count: int, height: int, width: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield grey noise of camera size through the one resize, each (1, height, width, 3)."""
    preprocess = Preprocessor(height, width)
    rng = np.random.default_rng(20)
    for _ in range(count):
        middle, reach = rng.uniform(120, 136), rng.uniform(16, 40)
        rgb = rng.uniform(middle - reach, middle + reach, (60, 90, 3))
        yield preprocess(rgb.astype(np.uint8))


def make_backbone(height: int, width: int, *, maps: bool = False) -> bytes:
    """Return the graph: image (n, h, w, 3) uint8 -> blocks_0 (n, 8), blocks_1 (n, 12) float32."""
    rng = np.random.default_rng(21)
    first, second = TAPS.values()
    pool = {'kernel_shape': [2, 2], 'strides': [2, 2]}
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['float'], ['nchw'], perm=[0, 3, 1, 2]),
        helper.make_node('Sub', ['nchw', 'mean'], ['centred']),
        helper.make_node('Div', ['centred', 'std'], ['normal']),
        helper.make_node('AveragePool', ['normal'], ['pooled_0'], **pool),
        helper.make_node('Conv', ['pooled_0', 'weight_0', 'bias_0'], ['conv_0']),
        helper.make_node('Relu', ['conv_0'], ['relu_0']),
        helper.make_node('ReduceMean', ['relu_0', 'axes'], ['blocks_0'], keepdims=0),
        helper.make_node('AveragePool', ['relu_0'], ['pooled_1'], **pool),
        helper.make_node('Conv', ['pooled_1', 'weight_1', 'bias_1'], ['conv_1']),
        helper.make_node('Relu', ['conv_1'], ['relu_1']),
        helper.make_node('ReduceMean', ['relu_1', 'axes'], ['blocks_1'], keepdims=0),
    ]
    stored = {
        'mean': np.float32(MEAN),
        'std': np.float32(STD),
        'axes': np.array([2, 3], np.int64),
        'weight_0': rng.normal(size=(first, 3, 1, 1)).astype(np.float32),
        'bias_0': rng.uniform(0.2, 1.0, first).astype(np.float32),
        'weight_1': rng.normal(size=(second, first, 1, 1)).astype(np.float32),
        'bias_1': rng.uniform(0.2, 1.0, second).astype(np.float32),
    }
    if maps:
        nodes.append(helper.make_node('Transpose', ['relu_1'], [MAP], perm=[0, 2, 3, 1]))
    image = helper.make_tensor_value_info('image', TensorProto.UINT8, ['n', height, width, 3])
    return _model('tiny_backbone', nodes, [image], _features(maps), stored)


def make_scorer(features: list[npt.NDArray[np.float32]]) -> bytes:
    """Return the graph: blocks_0, blocks_1 -> raw_score (n,) float32, fitted to features."""
    nodes: list[Any] = []
    stored: dict[str, npt.NDArray[Any]] = {'axes': np.array([-1], np.int64)}
    made = [helper.make_tensor_value_info('raw_score', TensorProto.FLOAT, ['n'])]
    for k, (name, feature) in enumerate(zip([*TAPS, MAP], features, strict=False)):
        rows = feature.reshape(-1, feature.shape[-1])
        stored[f'mean_{k}'] = rows.mean(axis=0)
        stored[f'std_{k}'] = rows.std(axis=0) + np.float32(1e-4)  # a dead channel has none
        nodes += [
            helper.make_node('Sub', [name, f'mean_{k}'], [f'centred_{k}']),
            helper.make_node('Div', [f'centred_{k}', f'std_{k}'], [f'z_{k}']),
            helper.make_node('Mul', [f'z_{k}', f'z_{k}'], [f'square_{k}']),
            helper.make_node('ReduceMean', [f'square_{k}', 'axes'], [f'score_{k}'], keepdims=0),
        ]
    nodes.append(helper.make_node('Add', ['score_0', 'score_1'], ['raw_score']))
    maps = len(features) > len(TAPS)
    if maps:
        nodes.append(helper.make_node('Identity', ['score_2'], ['patch_score']))
        cells = ['n', 'grid_height', 'grid_width']
        made.append(helper.make_tensor_value_info('patch_score', TensorProto.FLOAT, cells))
    return _model('tiny_scorer', nodes, _features(maps), made, stored)


def _features(maps: bool) -> list[Any]:
    shapes: dict[str, list[Any]] = {name: ['n', channels] for name, channels in TAPS.items()}
    if maps:
        shapes[MAP] = ['n', 'grid_height', 'grid_width', TAPS['blocks_1']]
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]


def _model(
    name: str, nodes: list[Any], given: list[Any], made: list[Any], stored: dict[str, Any]
) -> bytes:
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()]
    graph = helper.make_graph(nodes, name, given, made, initializers)
    opsets = [helper.make_opsetid('', 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString(deterministic=True))


def _manifest(
    height: int, width: int, *, verify: dict[str, Any], precisions: list[str]
) -> dict[str, Any]:
    taps = [
        {
            'name': name.replace('_', '.'),
            'output': name,
            'channels': channels,
            'reduction': 2 ** (k + 1),
            'density': 'gaussian',
        }
        for k, (name, channels) in enumerate(TAPS.items())
    ]
    return {
        'name': 'tiny',
        'created': '2026-01-01T00:00:00Z',
        'input': {
            'height': height,
            'width': width,
            'color': 'rgb',
            'resize': RESIZE_RULE,
            'mean': [MEAN] * 3,
            'std': [STD] * 3,
        },
        'backbone': {'name': 'tiny', 'weights': 'seeded', 'weights_sha256': '0' * 64},
        'features': {'pooling': 'mean', 'normalization': 'none', 'taps': taps},
        'outputs': {
            'raw_score': {'unit': 'z (sum over taps)', 'direction': 'higher = more anomalous'}
        },
        'precisions': precisions,
        'verify': verify,
        'training': {'sources': ['seeded noise'], 'frames': FITTED + HELD_OUT, 'seed': 20},
        'licences': {'code': 'Apache-2.0', 'weights': 'none', 'data': 'none'},
    }
