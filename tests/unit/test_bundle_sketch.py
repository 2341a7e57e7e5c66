"""The sketch of a bundle's training frames: small, the same for the same frames, and honest."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.bundle import Bundle, write_bundle
from ros_ood_monitor.bundle.sketch import frame_digest, FrameSketch, FrameTally
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.errors import BundleError
from ros_ood_monitor.preprocess import Preprocessor
from tests.tiny_bundle import make_tiny_bundle


def pictures(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(90, 166, (count, 32, 48, 3), dtype=np.uint8)


def digests(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.array([np.frombuffer(frame_digest(image), np.uint8) for image in images])


def with_sketch(folder: Path, sketch: bytes) -> Bundle:
    """Return the tiny bundle with one more file."""
    tiny = make_tiny_bundle(folder / 'tiny')
    files = {name: tiny.read(name) for name in tiny.manifest.digests}
    made_later = {'format', 'digests', 'digest'}
    manifest = {key: value for key, value in tiny.manifest.raw.items() if key not in made_later}
    return write_bundle(
        folder / 'bundle', manifest=manifest, files={**files, 'trained_frames.bin': sketch}
    )


def test_a_frame_takes_eight_bytes_and_a_copy_none() -> None:
    known = digests(pictures(30))
    content = FrameSketch.of(np.concatenate([known[::-1], known])).to_bytes()
    assert len(content) == 240
    assert content == FrameSketch.of(known).to_bytes()
    assert FrameSketch.from_bytes(content).to_bytes() == content


def test_known_frames_are_counted_and_others_are_not() -> None:
    tally = FrameTally(FrameSketch.of(digests(pictures(30))))
    for image in (*pictures(5), *pictures(20, seed=1)):
        tally.add(image)
    assert tally.known == 5
    assert str(tally).startswith('5 of 25 frames are among those that the bundle was trained on')


def test_nothing_is_said_where_nothing_is_known() -> None:
    for sketch in (FrameSketch.of(digests(pictures(30))), None):
        tally = FrameTally(sketch)
        for image in pictures(20, seed=1):
            tally.add(image)
        assert (tally.known, str(tally)) == (0, '')


def test_of_many_frames_a_sample_is_kept_from_which_the_number_follows() -> None:
    images = pictures(2000)
    others = np.random.default_rng(2).integers(0, 256, (40_000, 32), dtype=np.uint8)
    sketch = FrameSketch.of(np.concatenate([digests(images), others]))
    assert len(sketch.to_bytes()) == 16384 * 8
    told = [sketch.look_up(image) for image in images[:1000]]
    assert False not in told  # it is either known, or not for the sketch to say
    assert 300 < told.count(True) < 480  # 16384 of 42000
    tally = FrameTally(sketch)
    for image in (*images[:1000], *pictures(1000, seed=3)):
        tally.add(image)
    assert tally.known == pytest.approx(1000, rel=0.1)
    assert str(tally).startswith('about ')


@pytest.mark.parametrize('content', [b'1234567', bytes(16), bytes(8 * 20_000)])
def test_a_damaged_sketch_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match=r'is damaged: .*trained_frames\.bin'):
        with_sketch(tmp_path, content).trained_frames()


def test_a_bundle_without_a_sketch_has_none(tmp_path: Path) -> None:
    assert make_tiny_bundle(tmp_path / 'tiny').trained_frames() is None


@pytest.fixture(scope='module')
def trained_on_four(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle that was trained on the first four pictures."""
    preprocess = Preprocessor(32, 48)
    known = np.concatenate([preprocess(image) for image in pictures(4)])
    folder = tmp_path_factory.mktemp('bundle')
    return with_sketch(folder, FrameSketch.of(digests(known)).to_bytes())


def test_evaluate_tells_the_frames_that_were_trained_on(
    trained_on_four: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, images in (('id', pictures(9)), ('ood', 255 - pictures(5, seed=1) // 4)):
        (tmp_path / name).mkdir()
        for k, image in enumerate(images):
            cv2.imwrite(str(tmp_path / name / f'{k}.png'), image[..., ::-1])
    arguments = ['--images', str(tmp_path / 'id'), '--ood', str(tmp_path / 'ood')]
    numbers = tmp_path / 'numbers.json'
    assert main(['evaluate', str(trained_on_four.path), *arguments, '--json', str(numbers)]) == 0
    assert 'id: 4 of 9 frames are among those that the bundle' in capsys.readouterr().out
    facts = json.loads(numbers.read_text())
    assert facts['id_folder']['trained_on'] == 4
    assert facts['ood_folders'][0]['trained_on'] == 0


def test_replay_tells_the_frames_that_were_trained_on(
    trained_on_four: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('rosbags')
    for name, images in (('old', pictures(9)), ('new', pictures(9, seed=5))):
        with BagWriter(tmp_path / name) as bag:
            for k, image in enumerate(images):
                bag.write_image('/image', image, 10.0 + 0.1 * k)
        assert main(['replay', str(trained_on_four.path), str(tmp_path / name)]) == 0
    said = capsys.readouterr()
    (warning,) = [line for line in said.err.splitlines() if line.startswith('warning: ')]
    assert warning.startswith('warning: 4 of 9 frames are among those that the bundle')
