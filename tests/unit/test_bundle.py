"""Bundles: digests, refusals that name the file, atomic writing, goldens."""

from __future__ import annotations

import contextlib
from pathlib import Path
import shutil
import zipfile

import numpy as np
import pytest
import yaml

from ros_ood_monitor.bundle import Bundle, bundle_digest, write_bundle
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.engines import open_engine
from ros_ood_monitor.errors import BundleError, EngineError
from ros_ood_monitor.records import Reading
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope='module')
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('bundle') / 'tiny'
    make_tiny_bundle(path)
    return path


@pytest.fixture
def bundle_path(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / 'tiny'))


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_equal_content_has_equal_digest_whatever_its_name(original: Path, tmp_path: Path) -> None:
    again = make_tiny_bundle(tmp_path / 'other')
    raw = {**again.manifest.raw, 'name': 'renamed', 'created': 'tomorrow'}
    (again.path / 'manifest.yaml').write_text(yaml.safe_dump(raw))
    assert Bundle.load(again.path).digest == Bundle.load(original).digest


def test_a_zip_that_holds_the_folder_is_the_same_bundle(original: Path, tmp_path: Path) -> None:
    archive = tmp_path / 'tiny.zip'
    with zipfile.ZipFile(archive, 'w') as out:
        for file in original.iterdir():
            out.write(file, f'site/{file.name}')
        out.writestr('__MACOSX/site/._manifest.yaml', b'')
    assert Bundle.load(archive).digest == Bundle.load(original).digest
    with zipfile.ZipFile(archive, 'a') as out:
        out.write(original / 'manifest.yaml', 'other/manifest.yaml')
    with pytest.raises(
        BundleError, match=r'^no bundle: expected a file .* in the \.zip or in the only'
    ):
        Bundle.load(archive)


def test_a_folder_without_a_manifest_is_no_bundle_and_names_those_in_it(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    with pytest.raises(BundleError, match=r'^no bundle: .*got none: .*empty$'):
        Bundle.load(tmp_path / 'empty')
    make_tiny_bundle(tmp_path / 'models' / 'site')
    with pytest.raises(BundleError, match=r'got none; it holds the bundles site: .*models$'):
        Bundle.load(tmp_path / 'models')


def test_a_zip_of_the_folder_is_the_same_bundle(original: Path, tmp_path: Path) -> None:
    archive = tmp_path / 'tiny.zip'
    with zipfile.ZipFile(archive, 'w') as out:
        for file in original.iterdir():
            out.write(file, file.name)
    bundle = Bundle.load(archive)
    assert bundle.digest == Bundle.load(original).digest
    assert bundle.verify(open_engine(bundle)).ok


@pytest.mark.parametrize(
    'name', ['backbone.fp32.onnx', 'scorer.onnx', 'calibration.fp32.npz', 'goldens.fp32.npz']
)
def test_a_flipped_byte_is_refused_by_the_name_of_the_file(bundle_path: Path, name: str) -> None:
    flip_byte(bundle_path / name)
    with pytest.raises(BundleError, match=f"'{name}' is damaged: expected sha256"):
        Bundle.load(bundle_path)


@pytest.mark.parametrize('name', ['manifest.yaml', 'scorer.onnx'])
def test_a_missing_file_is_refused_by_name(bundle_path: Path, name: str) -> None:
    (bundle_path / name).unlink()
    with pytest.raises(BundleError, match=f"expected a file '{name}', got none"):
        Bundle.load(bundle_path)


def edit_manifest(path: Path, **changes: object) -> None:
    manifest = path / 'manifest.yaml'
    raw = {**yaml.safe_load(manifest.read_text()), **changes}
    manifest.write_text(yaml.safe_dump({**raw, 'digest': bundle_digest(raw)}))


def test_no_flipped_bit_of_the_manifest_goes_unnoticed(bundle_path: Path) -> None:
    manifest = bundle_path / 'manifest.yaml'
    good = manifest.read_bytes()
    content = Bundle.load(bundle_path).manifest.raw
    rng = np.random.default_rng(0)
    unnoticed = []
    for bit in rng.choice(8 * len(good), 200, replace=False):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << (bit % 8)
        manifest.write_bytes(flipped)
        with contextlib.suppress(BundleError):
            raw = Bundle.load(bundle_path).manifest.raw
            unnoticed += [key for key in {*raw, *content} if raw.get(key) != content.get(key)]
    assert set(unnoticed) <= {'name', 'created'}  # neither decides anything


def test_a_newer_format_is_refused_with_the_remedy(bundle_path: Path) -> None:
    edit_manifest(bundle_path, format=99)
    with pytest.raises(BundleError, match=r'reads up to 1, got 99; update ros_ood_monitor'):
        Bundle.load(bundle_path)


@pytest.mark.parametrize('text', ['format: 99', 'a: [\n  b', '- 1', 'format: 1', '\0'])
def test_a_refused_manifest_is_told_in_one_line_that_ends_with_its_path(
    bundle_path: Path, text: str
) -> None:
    (bundle_path / 'manifest.yaml').write_text(text)
    with pytest.raises(BundleError) as refusal:
        Bundle.load(bundle_path)
    assert str(refusal.value).endswith(f': {bundle_path}/manifest.yaml')
    assert '\n' not in str(refusal.value)


def test_a_precision_without_files_is_refused(bundle_path: Path) -> None:
    edit_manifest(bundle_path, precisions=['fp32', 'fp16'])
    with pytest.raises(BundleError, match=r"no digest for 'backbone\.fp16\.onnx'"):
        Bundle.load(bundle_path)


def test_a_digest_entry_cannot_reach_outside_the_bundle(bundle_path: Path) -> None:
    digests = Bundle.load(bundle_path).manifest.digests
    edit_manifest(bundle_path, digests={**digests, '../secret': '0' * 64})
    with pytest.raises(BundleError, match='must be plain'):
        Bundle.load(bundle_path)


def test_nothing_there_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match='bundle not found'):
        Bundle.load(tmp_path / 'nowhere')
    foreign = tmp_path / 'picture.png'
    foreign.write_bytes(b'no zip')
    with pytest.raises(BundleError, match='not readable'):
        Bundle.load(foreign)


def test_an_unknown_precision_lists_the_ones_held(original: Path) -> None:
    with pytest.raises(BundleError, match=r"no precision 'int8': it holds \['fp32'\]"):
        Bundle.load(original).backbone('int8')


def test_an_existing_target_is_kept_unless_overwrite_is_asked(bundle_path: Path) -> None:
    with pytest.raises(BundleError, match='output exists already'):
        write_bundle(bundle_path, manifest={}, files={})
    assert Bundle.load(bundle_path)


def test_overwrite_never_replaces_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(BundleError, match='is no bundle, so it is not replaced'):
        write_bundle(tmp_path, manifest={}, files={}, overwrite=True)
    assert (tmp_path / 'thesis.txt').exists()


def test_a_bundle_that_would_not_load_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match='manifest lacks'):
        write_bundle(tmp_path / 'broken', manifest={'name': 'x'}, files={})
    assert list(tmp_path.iterdir()) == []


def test_the_engine_reproduces_the_goldens(original: Path) -> None:
    bundle = Bundle.load(original)
    result = bundle.verify(open_engine(bundle))
    assert result.ok
    assert result.max_error <= 1e-5
    assert 'reproduces' in str(result)


class _Drifted:
    """The real engine with an error of one unit, as another precision might have."""

    def __init__(self, bundle: Bundle) -> None:
        self._engine = open_engine(bundle)

    def infer(self, batch: np.ndarray) -> Reading:
        return Reading(self._engine.infer(batch).raw_score + 1.0)


def test_an_engine_that_drifts_fails_verification(original: Path) -> None:
    bundle = Bundle.load(original)
    result = bundle.verify(_Drifted(bundle))
    assert not result.ok
    assert result.max_error == pytest.approx(1.0, abs=1e-4)
    assert 'does NOT reproduce' in str(result)


def test_fewer_than_two_goldens_are_refused() -> None:
    with pytest.raises(BundleError, match='at least two'):
        Goldens(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1))


def test_engine_names_are_checked(original: Path) -> None:
    with pytest.raises(
        EngineError, match=r"expected one of \['auto', .*'onnxruntime', .*\], got 'gpu'"
    ):
        open_engine(Bundle.load(original), 'gpu')
