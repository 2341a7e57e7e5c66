"""Bundles: digests, refusals that name the file, atomic writing, goldens."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import io
import math
from pathlib import Path
import shutil
import zipfile

import numpy as np
import pytest
import yaml

from ros_ood_monitor.bundle import Bundle, bundle_digest, write_bundle
from ros_ood_monitor.bundle.goldens import Goldens
from ros_ood_monitor.cli.main import main
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
    with pytest.raises(
        BundleError, match=r'expected a folder or a \.zip .* another kind \(\.png\): .*png$'
    ):
        Bundle.load(foreign)
    foreign.rename(tmp_path / 'picture.zip')
    with pytest.raises(BundleError, match='not readable'):
        Bundle.load(tmp_path / 'picture.zip')


def test_a_bag_in_the_place_of_a_bundle_is_told_as_one(
    original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = Path(__file__).resolve().parents[1] / 'bags' / 'lunar_orbit' / 'bag'
    for given in (bag, *bag.glob('*.mcap')):
        assert main(['replay', str(given), str(original)]) == 1
        told = capsys.readouterr().err
        assert 'got a bag; the bundle comes first, as in ood_monitor replay BUNDLE BAG' in told
        assert told.endswith(f'{given}\n')


@pytest.fixture(scope='module')
def archive(original: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bundle as a deflated .zip."""
    path = tmp_path_factory.mktemp('zip') / 'tiny'
    return Path(shutil.make_archive(str(path), 'zip', original.parent, 'tiny')).read_bytes()


@pytest.mark.parametrize('seed', range(4))
def test_a_damaged_zip_is_refused_or_is_the_same_bundle(
    original: Path, archive: bytes, tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    digest, path = Bundle.load(original).digest, tmp_path / 'damaged.zip'
    refused = []
    directory = archive.index(b'PK\x01\x02')
    for number in range(80):
        damaged = bytearray(archive)
        if number % 8 == 0:
            del damaged[int(rng.integers(len(damaged))) :]
        else:
            # a third of the damage where names, sizes, flags and methods stand
            first = directory if number % 3 == 0 else 0
            for place in rng.integers(first, len(damaged), int(rng.integers(1, 4))):
                damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            assert Bundle.load(path).digest == digest
        except BundleError as error:
            refused.append(str(error))
    assert len(refused) > 40
    assert all(str(path) in message for message in refused)


def test_a_zip_with_a_password_or_of_another_compression_says_what_to_do(
    archive: bytes, tmp_path: Path
) -> None:
    path = tmp_path / 'odd.zip'
    with zipfile.ZipFile(io.BytesIO(archive)) as whole:
        member = whole.getinfo('tiny/manifest.yaml')
    entry = archive.index(b'PK\x01\x02')
    while archive[entry + 46 : entry + 46 + len(member.filename)] != member.filename.encode():
        entry = archive.index(b'PK\x01\x02', entry + 1)
    for offset, value, what in ((8, 1, 'password required'), (10, 99, 'compression')):
        odd = bytearray(archive)
        odd[entry + offset] = odd[member.header_offset + offset - 2] = value
        path.write_bytes(odd)
        with pytest.raises(
            BundleError, match=rf'whole \.zip without a password, got .*{what}.*; copy .*: {path}$'
        ):
            Bundle.load(path)


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
    assert result.error <= 1e-5
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
    assert result.error == pytest.approx(1.0, abs=1e-4)
    assert 'does NOT reproduce' in str(result)


class _Answers:
    """An engine with one answer to each golden, known by its grey level."""

    def __init__(self, raw_score: Sequence[float], maps: np.ndarray | None = None) -> None:
        self._raw_score = np.array(raw_score)
        self._maps = maps

    def infer(self, batch: np.ndarray) -> Reading:
        which = batch[:, 0, 0, 0]
        return Reading(self._raw_score[which], None if self._maps is None else self._maps[which])


def _goldens(raw_score: Sequence[float], maps: np.ndarray | None = None) -> Goldens:
    levels = np.arange(len(raw_score), dtype=np.uint8)[:, None, None, None]
    return Goldens(np.broadcast_to(levels, (len(levels), 2, 2, 3)), np.array(raw_score), maps)


def test_a_golden_of_zero_with_nothing_allowed_hides_no_other() -> None:
    goldens = _goldens([0.0, 3.0])
    found = goldens.compare(_Answers([0.0, 9.0]), absolute=0.0, relative=0.01)
    assert (found.ok, found.error, found.tolerance) == (False, 6.0, 0.03)
    assert goldens.compare(_Answers([0.0, 3.0]), absolute=0.0, relative=0.0).ok


def test_the_worst_golden_is_the_one_furthest_from_what_is_allowed_for_it() -> None:
    found = _goldens([1000.0, 1.0]).compare(_Answers([1005.0, 1.5]), absolute=0.0, relative=0.01)
    assert (found.ok, found.error, found.tolerance) == (False, 0.5, 0.01)
    assert str(found) == (
        'engine does NOT reproduce 2 goldens: worst raw_score error 5.00e-01, tolerance 1.00e-02'
    )
    maps = np.array([1000.0, 1.0], np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    moved = maps + np.array([5.0, 0.5], np.float32)[:, None, None]
    found = _goldens([0.0, 0.0], maps).compare(
        _Answers([0.0, 0.0], moved), absolute=1.0, relative=0.01, map_absolute=0.0
    )
    assert (found.ok, found.map_error) == (False, 0.5)


def test_an_engine_without_maps_reproduces_no_golden_that_has_one() -> None:
    maps = np.ones((2, 2, 2), np.float32)
    goldens, allowed = _goldens([1.0, 2.0], maps), {'absolute': 1.0, 'relative': 0.0}
    for none in (_Answers([1.0, 2.0]), _Answers([1.0, 2.0], maps[:, :1])):
        found = goldens.compare(none, **allowed)
        assert (found.ok, found.map_error) == (False, math.inf)
    found = goldens.compare(_Answers([1.0, 2.0], 3.0 * maps), **allowed)
    assert (found.ok, found.map_error, found.map_tolerance) == (True, 2.0, math.inf)


def test_fewer_than_two_goldens_are_refused() -> None:
    with pytest.raises(BundleError, match='at least two'):
        Goldens(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1))


def test_engine_names_are_checked(original: Path) -> None:
    with pytest.raises(
        EngineError, match=r"expected one of \['auto', .*'onnxruntime', .*\], got 'gpu'"
    ):
        open_engine(Bundle.load(original), 'gpu')


def test_damaged_goldens_are_refused_whatever_the_damage_is() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    good = Goldens(image, np.arange(2.0)).to_bytes()
    assert len(good) < 1000
    for _ in range(500):
        content = bytearray(good)
        for place in rng.integers(0, len(content), 3):
            content[place] = rng.integers(256)
        with contextlib.suppress(BundleError):  # anything else is none that is promised
            Goldens.from_bytes(bytes(content))
    with pytest.raises(BundleError, match='not readable'):
        Goldens.from_bytes(good[:100])
