"""A user's own ONNX file as a backbone: its graph, its facts, and what is refused."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')
from onnx import helper, numpy_helper, TensorProto

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import EngineError, TrainingError
from ros_ood_monitor.training.backbones import (
    BackboneTap,
    load_backbone,
    OnnxBackbone,
    TiledBackbone,
    Tiles,
)
from ros_ood_monitor.training.export.graphs import export_backbone, output_names, prove_backbone

FACTS = {
    'mean': [120.0, 110.0, 100.0],
    'std': [60.0, 50.0, 40.0],
    'color': 'rgb',
    'layout': 'nchw',
    'height': 16,
    'width': 24,
    'licence': 'MIT',
}


def network(*, opset: int = 17, batch: Any = 'batch', half: bool = False, size: Any = None) -> Any:
    """Return two strided convolutions with maps and pooled features; its input is ``image``."""
    rng = np.random.default_rng(0)
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    dtype = np.float16 if half else np.float32
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.3, (5, 3, 2, 2)).astype(dtype), 'w1'),
        numpy_helper.from_array(rng.normal(0, 0.3, (7, 5, 2, 2)).astype(dtype), 'w2'),
        numpy_helper.from_array(np.array([0, -1], np.int64), 'flat'),
    ]
    nodes = [
        helper.make_node('Conv', ['image', 'w1'], ['a'], strides=[2, 2]),
        helper.make_node('Relu', ['a'], ['stage/1']),
        helper.make_node('Conv', ['stage/1', 'w2'], ['b'], strides=[2, 2]),
        helper.make_node('Relu', ['b'], ['stage/2']),
        helper.make_node('GlobalAveragePool', ['stage/2'], ['c']),
        helper.make_node('Reshape', ['c', 'flat'], ['pooled']),
    ]
    rows, columns = size or ('rows', 'columns')
    graph = helper.make_graph(
        nodes,
        'mine',
        [helper.make_tensor_value_info('image', kind, [batch, 3, rows, columns])],
        [
            helper.make_tensor_value_info('stage/1', kind, [batch, 5, None, None]),
            helper.make_tensor_value_info('stage/2', kind, [batch, 7, None, None]),
            helper.make_tensor_value_info('pooled', kind, [batch, 7]),
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=8)


def write(folder: Path, model: Any, **facts: Any) -> Path:
    file = folder / 'mine.onnx'
    file.write_bytes(model.SerializeToString())
    told = {key: value for key, value in (FACTS | facts).items() if value is not None}
    Path(f'{file}.yaml').write_text(yaml.safe_dump(told))
    return file


def pictures(count: int = 3, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def load(file: Path) -> OnnxBackbone:
    backbone = load_backbone(str(file))
    assert isinstance(backbone, OnnxBackbone)
    return backbone


def test_every_output_is_a_tap_with_its_geometry(tmp_path: Path) -> None:
    backbone = load(write(tmp_path, network()))
    assert backbone.taps == (
        BackboneTap('stage/1', 5, 2),
        BackboneTap('stage/2', 7, 4),
        BackboneTap('pooled', 7, 24),
    )
    assert [tap.output for tap in backbone.taps] == ['stage_1', 'stage_2', 'pooled']
    assert (backbone.name, backbone.weights, backbone.licence) == ('mine', 'mine.onnx', 'MIT')
    assert backbone.input_size == (16, 24)
    assert not backbone.fixed_size


@pytest.mark.parametrize('opset', [13, 17, 18, 20])
def test_graph_reproduces_the_file_in_its_own_opset(opset: int, tmp_path: Path) -> None:
    backbone = load(write(tmp_path, network(opset=opset)))
    content = export_backbone(backbone, backbone.taps, 32, 40)
    prove_backbone(open_session(content), backbone, backbone.taps, pictures(3, 32, 40))
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(item.domain, item.version) for item in model.opset_import] == [('', opset)]
    assert export_backbone(load(tmp_path / 'mine.onnx'), backbone.taps, 32, 40) == content


def test_pooled_output_equals_the_pooled_map(tmp_path: Path) -> None:
    backbone = load(write(tmp_path, network()))
    session = open_session(export_backbone(backbone, backbone.taps, 16, 24))
    _, by_graph, by_file = session.run(None, {'image': pictures()})
    assert by_graph == pytest.approx(by_file, abs=1e-6)


def test_graph_is_cut_after_the_last_tap(tmp_path: Path) -> None:
    backbone = load(write(tmp_path, network()))
    model = onnx.load_from_string(export_backbone(backbone, backbone.select(['stage/1']), 16, 24))
    assert [node.op_type for node in model.graph.node].count('Conv') == 1
    assert 'network/w2' not in {tensor.name for tensor in model.graph.initializer}


@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize('color', ['rgb', 'bgr'])
def test_network_gets_its_colours_and_axes(layout: str, color: str, tmp_path: Path) -> None:
    shape = ['n', 3, 16, 24] if layout == 'nchw' else ['n', 16, 24, 3]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ('x', 'same')
    ]
    graph = helper.make_graph(
        [helper.make_node('Relu', ['x'], ['same'])], 'same', values[:1], values[1:]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    backbone = load(write(tmp_path, model, layout=layout, color=color, mean=[1, 2, 3],
                          std=[4, 5, 6], height=None, width=None))  # fmt: skip
    content = export_backbone(backbone, backbone.taps, 16, 24)
    prove_backbone(open_session(content), backbone, backbone.taps, pictures())
    red, green, blue = 101, 102, 103
    image = np.broadcast_to(np.array([red, green, blue], np.uint8), (1, 16, 24, 3)).copy()
    (got,) = open_session(content).run(None, {'image': image})
    first, third = (red, blue) if color == 'rgb' else (blue, red)
    assert got[0] == pytest.approx([(first - 1) / 4, (green - 2) / 5, (third - 3) / 6], rel=1e-5)
    assert backbone.mean == ((1, 2, 3) if color == 'rgb' else (3, 2, 1))


def test_half_precision_gets_half_and_gives_float32(tmp_path: Path) -> None:
    backbone = load(write(tmp_path, network(half=True)))
    taps = backbone.select(['stage/1', 'stage/2'])
    session = open_session(export_backbone(backbone, taps, 16, 24))
    assert {output.type for output in session.get_outputs()} == {'tensor(float)'}
    got = session.run(None, {'image': pictures()})
    for values, expected in zip(got, backbone.features(taps, pictures()), strict=True):
        assert values == pytest.approx(expected, abs=2e-3)


def test_a_fixed_batch_of_one_is_opened_where_the_graph_allows_it(tmp_path: Path) -> None:
    backbone = load(write(tmp_path, network(batch=1)))
    content = export_backbone(backbone, backbone.taps, 16, 24)
    prove_backbone(open_session(content), backbone, backbone.taps, pictures(4))


def test_a_batch_fixed_inside_of_the_graph_is_refused(tmp_path: Path) -> None:
    model = network(batch=1)
    for tensor in model.graph.initializer:
        if tensor.name == 'flat':
            tensor.CopyFrom(numpy_helper.from_array(np.array([1, 7], np.int64), 'flat'))
    backbone = load(write(tmp_path, model))
    with pytest.raises(TrainingError, match=r'one picture at a time only \(.*\); export it'):
        export_backbone(backbone, backbone.taps, 16, 24)


def test_a_fixed_size_is_kept(tmp_path: Path) -> None:
    backbone = load(write(tmp_path, network(size=(16, 24)), height=None, width=None))
    assert backbone.fixed_size
    with pytest.raises(TrainingError, match='takes 24x16 px only, got 40x32'):
        export_backbone(backbone, backbone.taps, 32, 40)


def test_outputs_choose_the_taps(tmp_path: Path) -> None:
    file = write(tmp_path, network(), outputs=['stage/2'])
    assert [tap.name for tap in load_backbone(f'onnx:{file}').taps] == ['stage/2']


@pytest.mark.parametrize('size', [1.0, 1e-6])
def test_another_computation_is_refused_however_small_the_features_are(
    tmp_path: Path, size: float
) -> None:
    def times(model: Any, name: str, factor: float) -> Any:
        weight = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        values = numpy_helper.to_array(weight) * np.float32(factor)
        weight.CopyFrom(numpy_helper.from_array(values, name))
        return model

    backbone = load(write(tmp_path, times(network(), 'w1', size)))
    model = onnx.load_from_string(export_backbone(backbone, backbone.taps, 16, 24))
    prove_backbone(open_session(model.SerializeToString()), backbone, backbone.taps, pictures())
    other = open_session(times(model, 'network/w1', 1.01).SerializeToString())
    with pytest.raises(EngineError, match=r"features of 'stage/1'.* than the reference"):
        prove_backbone(other, backbone, backbone.taps, pictures())


@pytest.mark.parametrize(
    ('facts', 'message'),
    [
        ({'mean': None}, r"missing \['mean'\]"),
        ({'means': [1, 2, 3]}, r"unknown \['means'\]"),
        ({'mean': 127.5}, 'mean is wrong: expected three numbers in grey levels, got 127.5'),
        ({'std': [1, 0, 1]}, 'std must be positive'),
        ({'color': 'gray'}, r"color is unknown: expected one of \['rgb', 'bgr'\], got 'gray'"),
        ({'layout': 'chw'}, "layout is unknown.*got 'chw'"),
        ({'layout': 'nhwc'}, 'expected one of float pixels, nhwc with 3 channels, got FLOAT'),
        ({'height': None}, 'height is wrong: expected a number of px, got None'),
        ({'width': -4}, 'width is wrong'),
        ({'outputs': ['stage/9']}, r"outputs are unknown: expected some of \['stage/1',.*stage/9"),
    ],
)
def test_wrong_facts_are_refused(facts: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        load(write(tmp_path, network(), **facts))


def foreign(model: Any) -> None:
    model.graph.node[1].domain = 'com.example'
    model.opset_import.append(helper.make_opsetid('com.example', 1))


def outside(model: Any) -> None:
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], 'weights.bin')


def integers(model: Any) -> None:
    model.graph.node.append(helper.make_node('Cast', ['b'], ['i'], to=TensorProto.INT64))
    model.graph.output.append(helper.make_tensor_value_info('i', TensorProto.INT64, [None] * 4))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (foreign, 'operators outside of the ONNX standard: Relu; export it without'),
        (outside, 'save the network as a single file'),
        (integers, "output 'i' cannot be pooled: .* got int64"),
    ],
)
def test_files_that_cannot_serve_are_refused(
    change: Callable[[Any], None], message: str, tmp_path: Path
) -> None:
    model = network()
    change(model)
    with pytest.raises(TrainingError, match=message):
        load(write(tmp_path, model))


def test_absent_damaged_and_lonely_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / 'mine.onnx'
    with pytest.raises(TrainingError, match=f'backbone cannot be read .*: {file}'):
        load_backbone(str(file))
    file.write_bytes(b'\x08\x07nothing of the kind')
    with pytest.raises(TrainingError, match=f'ONNX file.*: {file}'):
        load_backbone(str(file))
    file.write_bytes(network().SerializeToString())
    with pytest.raises(TrainingError, match=f'facts of the backbone are missing.*: {file}.yaml'):
        load_backbone(str(file))
    Path(f'{file}.yaml').write_text('mean: [1, 2')
    with pytest.raises(TrainingError, match='facts of the backbone cannot be read'):
        load_backbone(str(file))
    with pytest.raises(TrainingError, match='leave them out'):
        load_backbone(str(file), weights='other.pth')


def renamed(**names: str) -> Any:
    """Return the network with other names of tensors; they are given with ``_`` for ``/``."""
    model = network()
    others = {old.replace('stage_', 'stage/'): new for old, new in names.items()}
    for node in model.graph.node:
        for given in (node.input, node.output):
            given[:] = [others.get(name, name) for name in given]
    for value in (*model.graph.input, *model.graph.output):
        value.name = others.get(value.name, value.name)
    return model


@pytest.mark.parametrize('opset', [17, 18])
def test_outputs_may_be_named_like_the_tensors_around_the_network(
    opset: int, tmp_path: Path
) -> None:
    model = renamed(image='x', stage_1='mean', stage_2='std')
    model.opset_import[0].version = opset
    for k, name in enumerate(('bgr', 'prepare_0', 'axes_2_3', 'pool_mean', 'sorted_std')):
        model.graph.node.append(helper.make_node('Identity', [('mean', 'std')[k % 2]], [name]))
        model.graph.output.append(
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ['n', (5, 7)[k % 2], None, None]
            )
        )
    backbone = load(write(tmp_path, model, color='bgr'))
    maps = backbone.select(['mean', 'std'])
    content = export_backbone(backbone, backbone.taps, 16, 24, maps)
    prove_backbone(open_session(content), backbone, backbone.taps, pictures(), maps)
    tiled = TiledBackbone.of(backbone, Tiles(2, 1))
    content = export_backbone(tiled, backbone.taps, 32, 24, maps)
    prove_backbone(open_session(content), tiled, backbone.taps, pictures(3, 32, 24), maps)


@pytest.mark.parametrize('name', ['image', 'raw_score', 'patch_score'])
def test_an_output_named_like_one_of_a_bundles_graphs_is_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(
        TrainingError, match=f'graphs of a bundle use themselves .*: rename {name}'
    ):
        load(write(tmp_path, renamed(image='x', stage_2=name)))


def test_an_output_named_like_the_map_of_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='cannot be told apart: rename one of one_map, one'):
        load(write(tmp_path, renamed(stage_1='one', stage_2='one_map')))
    # pooled features have no map that could be meant
    load(write(tmp_path, renamed(pooled='two', stage_2='two_map')))


@pytest.mark.parametrize('half', [True, False])
def test_outputs_of_another_float_type_than_the_input_become_float32(
    half: bool, tmp_path: Path
) -> None:
    model = network(half=half)
    other = TensorProto.FLOAT if half else TensorProto.FLOAT16
    model.graph.node.append(helper.make_node('Cast', ['stage/2'], ['other'], to=other))
    value = helper.make_tensor_value_info('other', other, ['batch', 7, None, None])
    model.graph.output.append(value)
    backbone = load(write(tmp_path, model))
    taps = backbone.select(['stage/1', 'other'])
    content = export_backbone(backbone, taps, 16, 24, taps)
    session = open_session(content)
    assert {output.type for output in session.get_outputs()} == {'tensor(float)'}
    got = session.run(output_names(taps, taps), {'image': pictures()})
    for values, expected in zip(got, backbone.features(taps, pictures(), taps), strict=True):
        assert values == pytest.approx(expected, abs=2e-3)


def only_one_size(model: Any, *, by_weights: bool) -> None:
    """Add an output of the width of all cells, or one whose weights are for so many cells."""
    model.graph.node.append(helper.make_node('Flatten', ['stage/2'], ['all']))
    name = 'all'
    if by_weights:
        name, weights = 'last', np.ones((7 * 4 * 6, 9), np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, 'w3'))
        model.graph.node.append(helper.make_node('MatMul', ['all', 'w3'], [name]))
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ['batch', None])
    model.graph.output.append(value)


@pytest.mark.parametrize('by_weights', [True, False])
def test_a_size_fixed_inside_of_the_graph_is_blamed_for_what_fails(
    by_weights: bool, tmp_path: Path
) -> None:
    model = network()
    only_one_size(model, by_weights=by_weights)
    backbone = load(write(tmp_path, model))
    export_backbone(backbone, backbone.taps, 16, 24)
    with pytest.raises(
        TrainingError, match=r'takes no pictures of 40x32 px \(.*\); set the input size to 24x16'
    ):
        export_backbone(backbone, backbone.taps, 32, 40)


def test_outputs_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match='cannot be told apart: rename one of stage/1, stage_1'
    ):
        load(write(tmp_path, renamed(stage_2='stage_1')))
