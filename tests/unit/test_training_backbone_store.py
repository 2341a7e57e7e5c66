"""An exported backbone is kept, and is what an export gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip('torch')

from ros_ood_monitor.training import backbones, onnx_files
from ros_ood_monitor.training.backbones import Backbone, load_backbone
from ros_ood_monitor.training.export import graphs
from ros_ood_monitor.training.features import backbone_store
from ros_ood_monitor.training.features.backbone_store import get_or_export


@pytest.fixture(scope='module')
def backbone() -> Backbone:
    return load_backbone('efficientnet_lite0')


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return the sizes that were exported, each of them for real."""
    sizes = []
    export = backbone_store.export_backbone

    def noted(backbone: Backbone, taps: object, height: int, width: int, maps: object) -> bytes:
        sizes.append((height, width))
        return export(backbone, taps, height, width, maps)  # type: ignore[arg-type]

    monkeypatch.setattr(backbone_store, 'export_backbone', noted)
    return sizes


def test_a_backbone_is_exported_once_and_a_damaged_file_is_made_anew(
    backbone: Backbone, exports: list[tuple[int, int]], tmp_path: Path
) -> None:
    taps = backbone.select(['blocks.0'])
    first = get_or_export(backbone, taps, 64, 64, cache=tmp_path)
    assert get_or_export(backbone, taps, 64, 64, cache=tmp_path) == first
    assert len(exports) == 1
    (file,) = (tmp_path / 'backbones').iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert get_or_export(backbone, taps, 64, 64, cache=tmp_path) == first
    assert len(exports) == 2
    assert get_or_export(backbone, taps, 64, 64, cache=tmp_path) == first
    assert len(exports) == 2


def test_what_the_bytes_depend_on_is_in_the_name(
    backbone: Backbone,
    exports: list[tuple[int, int]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        backbone_store, 'export_backbone', lambda *_: exports.append((0, 0)) or b'graph'
    )
    taps = backbone.select(['blocks.0'])
    get_or_export(backbone, taps, 64, 64, cache=tmp_path)
    get_or_export(backbone, taps, 96, 64, cache=tmp_path)
    get_or_export(backbone, backbone.select(['blocks.1']), 64, 64, cache=tmp_path)
    other = dataclasses.replace(backbone, weights_sha256='00')
    get_or_export(other, taps, 64, 64, cache=tmp_path)
    monkeypatch.setattr(backbone_store, '_version', lambda _: 'other')
    get_or_export(backbone, taps, 64, 64, cache=tmp_path)
    monkeypatch.setattr(backbone_store, '_own_digest', lambda: 'other')
    get_or_export(backbone, taps, 64, 64, cache=tmp_path)
    assert len(exports) == 6
    assert len(list((tmp_path / 'backbones').iterdir())) == 6


def test_another_version_of_the_exporter_has_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / 'other.py'
    other.write_text('')
    digests = {backbone_store._own_digest()}
    for module in (graphs, onnx_files):
        with monkeypatch.context() as changed:
            changed.setattr(module, '__file__', str(other))
            digests.add(backbone_store._own_digest())
    (tmp_path / 'backbones').mkdir()
    monkeypatch.setattr(backbones, '__file__', str(tmp_path / 'backbones' / '__init__.py'))
    digests.add(backbone_store._own_digest())
    assert len(digests) == 4


def test_without_a_cache_nothing_is_kept(
    backbone: Backbone, exports: list[tuple[int, int]]
) -> None:
    taps = backbone.select(['blocks.0'])
    once, again = (get_or_export(backbone, taps, 64, 64, cache=None) for _ in range(2))
    assert once == again
    assert len(exports) == 2
