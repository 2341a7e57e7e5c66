"""Conversion of backbones: same inputs and outputs, what is rounded and what is not, refusals."""

from __future__ import annotations

import logging
from pathlib import Path
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, TensorProto
import pytest

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.precisions import convert, PRECISIONS

SIZE = 32
CHANNELS = {'early': 12, 'late': 24}
ROUNDED = [name for name in PRECISIONS if name != 'fp32']
SHIPPED = Path(__file__).resolve().parents[2] / 'models/lunar_orbit/backbone.fp32.onnx'


def make_backbone(*, opset: int = 18) -> bytes:
    """Return stem, depthwise, pointwise, a residual sum and two pooled taps, nodes unnamed."""
    rng = np.random.default_rng(3)
    stored = {
        'std': np.array(127.5, np.float32),
        'w_stem': rng.normal(0, 0.3, (12, 3, 3, 3)),
        'b_stem': rng.normal(0, 0.1, 12),
        'w_depth': rng.normal(0, 0.4, (12, 1, 3, 3)),
        'b_depth': rng.normal(0, 0.1, 12),
        'w_point': rng.normal(0, 0.3, (12, 12, 1, 1)),
        'b_point': rng.normal(0, 0.1, 12),
        'w_late': rng.normal(0, 0.3, (24, 12, 1, 1)),
        'b_late': rng.normal(0, 0.1, 24),
        'low': np.array(0.0),
        'high': np.array(6.0),
    }
    conv = {'strides': [2, 2], 'pads': [1, 1, 1, 1]}
    depth = {'group': 12, 'pads': [1, 1, 1, 1]}
    mean = numpy_helper.from_array(np.array(127.5, np.float32))
    nodes = [
        helper.make_node('Constant', [], ['mean'], value=mean),  # not a stored tensor
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['float'], ['nchw'], perm=[0, 3, 1, 2]),
        helper.make_node('Sub', ['nchw', 'mean'], ['centred']),
        helper.make_node('Div', ['centred', 'std'], ['pixels']),
        helper.make_node('Conv', ['pixels', 'w_stem', 'b_stem'], ['c0'], **conv),
        helper.make_node('Clip', ['c0', 'low', 'high'], ['a0']),
        helper.make_node('Conv', ['a0', 'w_depth', 'b_depth'], ['c1'], **depth),
        helper.make_node('Clip', ['c1', 'low', 'high'], ['a1']),
        helper.make_node('Conv', ['a1', 'w_point', 'b_point'], ['c2']),
        helper.make_node('Add', ['a0', 'c2'], ['sum']),
        helper.make_node('ReduceMean', ['sum', 'axes'], ['early'], keepdims=0),
        helper.make_node('Conv', ['sum', 'w_late', 'b_late'], ['c3']),
        helper.make_node('Relu', ['c3'], ['a3']),
        helper.make_node('GlobalAveragePool', ['a3'], ['pooled']),
        helper.make_node('Flatten', ['pooled'], ['late']),
    ]
    tensors = {k: v.astype(np.float32) for k, v in stored.items()}
    weights = [numpy_helper.from_array(v, k) for k, v in tensors.items()]
    if opset < 18:
        nodes[11] = helper.make_node('ReduceMean', ['sum'], ['early'], axes=[2, 3], keepdims=0)
    else:
        weights.append(numpy_helper.from_array(np.array([2, 3], np.int64), 'axes'))
    image = helper.make_tensor_value_info('image', TensorProto.UINT8, ['n', SIZE, SIZE, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ['n', width])
        for name, width in CHANNELS.items()
    ]
    graph = helper.make_graph(nodes, 'backbone', [image], outputs, weights)
    opsets = [helper.make_opsetid('', opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


@pytest.fixture(scope='module')
def backbone() -> bytes:
    return make_backbone()


@pytest.fixture(scope='module')
def images() -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (24, SIZE // 4, SIZE // 4, 3))
    return coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)  # (24, SIZE, SIZE, 3)


@pytest.fixture(scope='module')
def converted(backbone: bytes, images: npt.NDArray[np.uint8]) -> dict[str, bytes]:
    return {name: convert(backbone, name, calibration_images=images) for name in PRECISIONS}


def features(
    model: bytes, images: npt.NDArray[np.uint8], precision: str
) -> list[npt.NDArray[np.float32]]:
    session = open_session(model, precision=precision)
    return list(session.run(list(CHANNELS), {'image': images}))


def nodes_of(model: bytes, kind: str) -> list[Any]:
    return [node for node in onnx.load_from_string(model).graph.node if node.op_type == kind]


def stored_in(model: bytes) -> dict[str, npt.NDArray[Any]]:
    graph = onnx.load_from_string(model).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def test_fp32_is_the_file_itself(backbone: bytes, converted: dict[str, bytes]) -> None:
    assert converted['fp32'] is backbone


@pytest.mark.parametrize(
    ('precision', 'allowed'), [('fp16', 2e-3), ('cpu-int8', 0.06), ('trt-int8', 0.06)]
)
def test_a_precision_keeps_inputs_outputs_and_nearly_the_features(
    converted: dict[str, bytes], precision: str, allowed: float
) -> None:
    model = onnx.load_from_string(converted[precision])
    assert [node.name for node in model.graph.input] == ['image']
    assert {output.name for output in model.graph.output} == set(CHANNELS)
    unseen = np.random.default_rng(5).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    wanted = features(converted['fp32'], unseen, 'fp32')
    got = features(converted[precision], unseen, precision)
    for a, b in zip(wanted, got, strict=True):
        assert b.dtype == np.float32
        error = np.linalg.norm(a - b) / np.linalg.norm(a)
        assert 0.0 < error < allowed  # 0: nothing was rounded


@pytest.mark.parametrize('precision', ROUNDED)
def test_equal_arguments_give_equal_bytes(
    backbone: bytes,
    images: npt.NDArray[np.uint8],
    converted: dict[str, bytes],
    precision: str,
) -> None:
    assert convert(backbone, precision, calibration_images=images) == converted[precision]


@pytest.mark.parametrize('precision', ROUNDED)
def test_a_file_holds_only_standard_operators_and_no_notes(
    converted: dict[str, bytes], precision: str
) -> None:
    model = onnx.load_from_string(converted[precision])
    assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}
    assert [opset.domain for opset in model.opset_import] in ([''], ['ai.onnx'])
    assert len(model.metadata_props) == 0
    assert b'/tmp' not in converted[precision]


def test_fp16_weights_are_half_and_pixels_are_normalised_in_full(
    converted: dict[str, bytes],
) -> None:
    stored = stored_in(converted['fp16'])
    assert stored['w_point'].dtype == np.float16
    assert stored['mean'].dtype == stored['std'].dtype == np.float32
    (mean,) = nodes_of(converted['fp16'], 'ReduceMean')
    casts = {node.output[0]: node.attribute[0].i for node in nodes_of(converted['fp16'], 'Cast')}
    assert casts[mean.input[0]] == TensorProto.FLOAT  # means are summed up in float32


def test_cpu_int8_weights_cannot_overflow_where_products_are_added_in_pairs(
    converted: dict[str, bytes],
) -> None:
    stored = stored_in(converted['cpu-int8'])
    widest = {
        name: int(np.abs(stored[f'{name}_quantized'].astype(int)).max())
        for name in ('w_point', 'w_late', 'w_depth')
    }
    assert 255 * 2 * widest['w_point'] < 2**15
    assert 255 * 2 * widest['w_late'] < 2**15
    assert widest['w_depth'] == 127  # nothing is added in pairs there


@pytest.mark.parametrize('precision', ['cpu-int8', 'trt-int8'])
def test_the_first_convolution_stays_in_float32(
    converted: dict[str, bytes], precision: str
) -> None:
    assert stored_in(converted[precision])['w_stem'].dtype == np.float32


@pytest.mark.parametrize('precision', ['cpu-int8', 'trt-int8'])
def test_int8_features_have_no_mean_error_on_the_calibration_images(
    converted: dict[str, bytes], images: npt.NDArray[np.uint8], precision: str
) -> None:
    wanted = features(converted['fp32'], images, 'fp32')
    got = features(converted[precision], images, precision)
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_allclose(a.mean(axis=0), b.mean(axis=0), atol=1e-4)


def test_trt_int8_is_symmetric_and_rounds_behind_the_activation_only(
    converted: dict[str, bytes],
) -> None:
    model = converted['trt-int8']
    stored = stored_in(model)
    made_by = {
        name: node for node in onnx.load_from_string(model).graph.node for name in node.output
    }
    for node in nodes_of(model, 'QuantizeLinear'):
        assert stored[node.input[2]].dtype == np.int8
        assert not stored[node.input[2]].any()
    for kind in ('Clip', 'Relu'):
        for node in nodes_of(model, kind):
            assert made_by[node.input[0]].op_type == 'Conv'
    assert not any(tensor.dtype == np.int32 for tensor in stored.values())


@pytest.mark.parametrize('opset', [11, 13, 21])
@pytest.mark.parametrize('precision', ['fp16', 'cpu-int8'])
def test_backbones_of_older_and_newer_opsets_are_converted(
    images: npt.NDArray[np.uint8], opset: int, precision: str
) -> None:
    backbone = make_backbone(opset=opset)
    model = convert(backbone, precision, calibration_images=images)
    wanted = features(backbone, images, 'fp32')
    for a, b in zip(wanted, features(model, images, precision), strict=True):
        assert np.linalg.norm(a - b) < 0.06 * np.linalg.norm(a)


def test_conversion_leaves_search_path_and_logging_as_they_were(
    backbone: bytes, images: npt.NDArray[np.uint8]
) -> None:
    before = list(sys.path), logging.root.manager.disable, logging.root.level
    convert(backbone, 'fp16')
    convert(backbone, 'cpu-int8', calibration_images=images)
    assert (list(sys.path), logging.root.manager.disable, logging.root.level) == before


def test_an_unknown_precision_lists_the_known_ones(backbone: bytes) -> None:
    with pytest.raises(TrainingError, match=r"expected one of \['fp32', 'fp16', .*got 'int4'"):
        convert(backbone, 'int4')


def test_int8_without_images_is_refused(backbone: bytes) -> None:
    with pytest.raises(TrainingError, match=r"'cpu-int8' needs calibration images .* got None"):
        convert(backbone, 'cpu-int8')


def test_int8_with_few_or_odd_images_is_refused(
    backbone: bytes, images: npt.NDArray[np.uint8]
) -> None:
    with pytest.raises(TrainingError, match='expected at least 16, got 3'):
        convert(backbone, 'trt-int8', calibration_images=images[:3])
    fractions: Any = images / 255.0
    with pytest.raises(TrainingError, match=r'got \(24, 32, 32, 3\) float64'):
        convert(backbone, 'trt-int8', calibration_images=fractions)
    with pytest.raises(TrainingError, match='could not be converted'):
        convert(backbone, 'trt-int8', calibration_images=images[:, :8])


def test_a_file_that_is_no_backbone_is_refused(images: npt.NDArray[np.uint8]) -> None:
    for precision in ROUNDED:
        with pytest.raises(TrainingError, match='no usable ONNX file'):
            convert(b'not a model', precision, calibration_images=images)


def test_tensorrt_builds_what_is_made_for_it(images: npt.NDArray[np.uint8]) -> None:
    trt = pytest.importorskip('tensorrt_rtx', reason='extra tensorrt is not installed')
    shipped = SHIPPED.read_bytes()
    pictures = images.repeat(7, axis=1).repeat(7, axis=2)  # (24, 224, 224, 3)
    log = trt.Logger(trt.Logger.ERROR)
    sizes = {}
    for precision in ('fp32', 'fp16', 'trt-int8'):
        model = convert(shipped, precision, calibration_images=pictures[:16])
        builder = trt.Builder(log)
        network = builder.create_network(
            1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        )
        parser = trt.OnnxParser(network, log)
        assert parser.parse(model), [parser.get_error(k).desc() for k in range(parser.num_errors)]
        config, profile = builder.create_builder_config(), builder.create_optimization_profile()
        profile.set_shape('image', *[(n, 224, 224, 3) for n in (1, 1, 4)])
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        assert plan is not None
        sizes[precision] = len(bytes(plan))
    assert sizes['fp16'] < 0.7 * sizes['fp32']
