"""Features on disk: what is read once is not read again, however a training ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import contextlib
from functools import partial
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip('torch')

from ros_ood_monitor.bags import BagWriter
from ros_ood_monitor.errors import TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.backbones import BackboneTap
from ros_ood_monitor.training.features.cache import cache_key
from ros_ood_monitor.training.features.extract import extract
from ros_ood_monitor.training.features.fill import fill, thumbnail
from ros_ood_monitor.training.features.shard import Shard
from ros_ood_monitor.training.features.table import FeatureTable
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.reading import Item, Picture, read_ahead
from ros_ood_monitor.training.frames.selection import Selection
from ros_ood_monitor.training.frames.split import split_frames

_TAPS = (BackboneTap('a', 3, 8), BackboneTap('b', 2, 16))


class _Means:
    """A runner whose features are the means of two halves of the picture; it counts pictures."""

    name = 'means'
    concurrent = True

    def __init__(self, *, batch_size: int = 1, fail_at: int | None = None) -> None:
        self.batch_size = batch_size
        self.seen = 0
        self._fail_at = fail_at

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        if self._fail_at is not None and self.seen >= self._fail_at:
            raise KeyboardInterrupt
        self.seen += len(images)
        upper = images[:, :16].mean(axis=(1, 2))  # (n, 3)
        lower = images[:, 16:].mean(axis=(1, 2))[:, :2]  # (n, 2)
        return np.concatenate([upper, lower], axis=1).astype(np.float32)


def _folder(path: Path, count: int, *, seed: int = 0) -> Path:
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for k in range(count):
        image = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((5, 5, 1))).astype(np.uint8)
        cv2.imwrite(str(path / f'{k}.png'), image)
    return path


def _rows(dataset: Dataset, run: Any, cache: Path | None = None, **options: Any) -> Any:
    with extract(
        dataset, run, Preprocessor(32, 32), _TAPS, backbone_sha256='b', cache=cache, **options
    ) as table:
        index = np.arange(len(table))
        return (
            table.of(_TAPS[0], index),
            table.of(_TAPS[1], index),
            table.sequence,
            table.data_sha256,
            {row: image.copy() for row, image in table.images.items()},
        )


def _equal(one: Any, other: Any) -> bool:
    return (
        all(np.array_equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
        and one[3] == other[3]
        and one[4].keys() == other[4].keys()
        and all(np.array_equal(one[4][k], other[4][k]) for k in one[4])
    )


def test_a_second_training_computes_no_feature_again(tmp_path: Path) -> None:
    dataset = Dataset([_folder(tmp_path / 'a', 7), _folder(tmp_path / 'b', 5, seed=1)])
    first, second = _Means(), _Means()
    one = _rows(dataset, first, tmp_path / 'cache')
    other = _rows(dataset, second, tmp_path / 'cache')
    assert (first.seen, second.seen) == (12, 0)
    assert _equal(one, other)
    assert one[2].tolist() == [0] * 7 + [1] * 5


@pytest.mark.parametrize('fail_at', [1, 66, 150, 299])
def test_an_interrupted_extraction_goes_on_where_it_was_and_gives_the_same(
    tmp_path: Path, fail_at: int
) -> None:
    dataset = Dataset([_folder(tmp_path / 'a', 300)])
    whole = _rows(dataset, _Means())
    broken, rest = _Means(fail_at=fail_at), _Means()
    with pytest.raises(KeyboardInterrupt):
        _rows(dataset, broken, tmp_path / 'cache')
    resumed = _rows(dataset, rest, tmp_path / 'cache')
    assert broken.seen + rest.seen == 300
    assert _equal(whole, resumed)


def test_records_behind_the_last_checkpoint_do_not_count(tmp_path: Path) -> None:
    shard = Shard(tmp_path / 'shard', 2)
    facts: Any = {
        'stamp': None,
        'digest': bytes(32),
        'size': (4, 3),
        'health': np.zeros(9, np.float32),
        'thumb': np.zeros((16, 16), np.uint8),
    }
    shard.append(position=0, features=np.array([1, 2], np.float32), **facts)
    shard.checkpoint()
    shard.append(position=1, features=np.array([3, 4], np.float32), **facts)
    shard.close()  # as a crash: written, but not said to count
    again = Shard(tmp_path / 'shard', 2)
    rows = again.rows()
    assert rows is not None
    assert rows['features'].tolist() == [[1.0, 2.0]]
    assert again.state.position == 1
    again.close()


def test_a_damaged_state_begins_anew(tmp_path: Path) -> None:
    folder = _folder(tmp_path / 'a', 4)
    _rows(Dataset([folder]), _Means(), tmp_path / 'cache')
    (state,) = (tmp_path / 'cache').glob('*/state.json')
    state.write_text('{"count": 4')
    run = _Means()
    _rows(Dataset([folder]), run, tmp_path / 'cache')
    assert run.seen == 4


@pytest.mark.parametrize(
    'change',
    [
        lambda folder: cv2.imwrite(str(folder / '1.png'), np.zeros((9, 9, 3), np.uint8)),
        lambda folder: (folder / '3.png').unlink(),
    ],
)
def test_changed_files_are_read_again(tmp_path: Path, change: Callable[[Path], Any]) -> None:
    folder = _folder(tmp_path / 'a', 4)
    _rows(Dataset([folder]), _Means(), tmp_path / 'cache')
    change(folder)
    run = _Means()
    rows = _rows(Dataset([folder]), run, tmp_path / 'cache')
    assert run.seen == len(rows[0]) > 0


def test_two_trainings_do_not_write_one_shard(tmp_path: Path) -> None:
    shard = Shard(tmp_path / 'shard', 2)
    with pytest.raises(TrainingError, match='another training'):
        Shard(tmp_path / 'shard', 2)
    shard.close()
    Shard(tmp_path / 'shard', 2).close()


@pytest.mark.parametrize('workers', [1, 3])
@pytest.mark.parametrize('batch_size', [1, 4])
def test_workers_and_batches_change_nothing(tmp_path: Path, workers: int, batch_size: int) -> None:
    folder = _folder(tmp_path / 'a', 30)
    (folder / '11.png').write_bytes(b'no picture')
    expected = _rows(Dataset([folder]), _Means())
    assert len(expected[0]) == 29
    assert _equal(
        expected, _rows(Dataset([folder]), _Means(batch_size=batch_size), workers=workers)
    )


def test_reading_ahead_is_bounded() -> None:
    taken = []

    def items() -> Iterator[Item]:
        for k in range(1000):
            taken.append(k)
            yield Item(k, str(k), lambda: Picture(np.zeros((8, 8, 3), np.uint8), None))

    reader = read_ahead(items(), Preprocessor(8, 8), workers=2)
    assert next(reader).item.position == 0
    assert len(taken) <= 8
    reader.close()  # type: ignore[attr-defined]


def test_frames_that_do_not_decode_are_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / 'a', 3)
    (folder / '1.png').write_bytes(b'no picture')
    dataset = Dataset([folder])
    with extract(dataset, _Means(), Preprocessor(32, 32), _TAPS, backbone_sha256='b') as table:
        ((name, reason),) = table.shards[0].state.skipped
        assert name == 'a/1.png'
        assert str(folder) not in reason
        assert table.position.tolist() == [0, 2]


def test_near_duplicates_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / 'a'
    folder.mkdir()
    rng = np.random.default_rng(0)
    base = rng.integers(0, 250, (32, 32, 3)).astype(np.uint8)
    for k, add in enumerate((0, 1, 1, 90, 91)):
        cv2.imwrite(str(folder / f'{k}.png'), np.clip(base.astype(int) + add, 0, 255))
    options: Any = {'backbone_sha256': 'b', 'near_duplicates': 3.0}
    with extract(Dataset([folder]), _Means(), Preprocessor(32, 32), _TAPS, **options) as table:
        assert table.position.tolist() == [0, 3]
        assert table.shards[0].state.near_duplicates == 3


def _blinking(folder: Path, shades: Sequence[int]) -> Path:
    folder.mkdir()
    for k, shade in enumerate(shades):
        cv2.imwrite(str(folder / f'{k}.png'), np.full((32, 32, 3), shade, np.uint8))
    return folder


def test_near_duplicates_are_found_among_the_last_32_taken_and_no_further(tmp_path: Path) -> None:
    shades = [10, 200, 10, 201, *range(14, 198, 6), 11, 10]  # two views in turn, then 31 others
    folder = _blinking(tmp_path / 'a', shades)
    options: Any = {'backbone_sha256': 'b', 'near_duplicates': 1.5}
    with extract(Dataset([folder]), _Means(), Preprocessor(32, 32), _TAPS, **options) as table:
        assert table.position.tolist() == [0, 1, *range(4, 35), 35]
        assert table.shards[0].state.near_duplicates == 3


@pytest.mark.parametrize('fail_at', [2, 20, 33])
def test_near_duplicates_are_the_same_after_an_interruption(tmp_path: Path, fail_at: int) -> None:
    shades = [10, 200, 10, 201, *range(14, 198, 6), 11, 10, 60, 61]
    dataset = Dataset([_blinking(tmp_path / 'a', shades)])
    whole = _rows(dataset, _Means(), near_duplicates=1.5)
    with pytest.raises(KeyboardInterrupt):
        _rows(dataset, _Means(fail_at=fail_at), tmp_path / 'cache', near_duplicates=1.5)
    assert _equal(whole, _rows(dataset, _Means(), tmp_path / 'cache', near_duplicates=1.5))


def test_features_that_are_not_finite_stop_the_training(tmp_path: Path) -> None:
    class Broken(_Means):
        def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return np.full((len(images), 5), np.nan, np.float32)

    with pytest.raises(TrainingError, match=r"features of 'a/0.png' are not finite"):
        _rows(Dataset([_folder(tmp_path / 'a', 2)]), Broken())


def test_no_frame_at_all_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / '0.png').write_bytes(b'no picture')
    with pytest.raises(TrainingError, match=r'no frame could be decoded: .*a/0\.png'):
        _rows(Dataset([tmp_path / 'a']), _Means())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(TrainingError, match=r'--cache: .*file'):
        _rows(Dataset([_folder(tmp_path / 'a', 2)]), _Means(), tmp_path / 'file')


def _filled(folder: Path, cameras: Sequence[str], fail_at: int | None = None) -> Shard:
    """Return a shard of so many frames, each of its camera; written up to a failure, or whole."""
    image = np.zeros((32, 32, 3), np.uint8)
    items = [Item(k, str(k), lambda: Picture(image, None), one) for k, one in enumerate(cameras)]
    shard = Shard(folder, 5)
    run = _Means(fail_at=fail_at)
    try:
        fill(shard, lambda position: iter(items[position:]), run, Preprocessor(32, 32))
    except KeyboardInterrupt:
        shard.close()
        raise
    return shard


def test_kept_pictures_are_few_and_follow_no_stride(tmp_path: Path) -> None:
    shard = _filled(tmp_path / 'shard', [''] * 720)
    kept = np.array(shard.kept)
    assert len(kept) == 64
    assert len(list((tmp_path / 'shard' / 'images').iterdir())) == len(kept)
    assert len(set(np.diff(kept))) > 5
    # a stride of 16 would keep 6 of the 216 frames that a split by block holds out
    split = split_frames(
        np.zeros(720, np.int64), rule='block', alpha=0.01, by_sequence=False, seed=0
    )
    assert 12 <= np.isin(kept, split.fit, invert=True).sum() <= 28
    assert np.histogram(kept, bins=4, range=(0, 720))[0].min() >= 8
    shard.close()


@pytest.mark.parametrize('fail_at', [100, 230])
def test_every_camera_keeps_as_many_pictures_however_often_it_was_interrupted(
    tmp_path: Path, fail_at: int
) -> None:
    cameras = ['/left', '/right', *['/left', '/right'] * 140, '/rear', *['/left'] * 9] * 2
    whole = _filled(tmp_path / 'whole', cameras)
    assert whole.state.cameras == ['/left', '/right', '/rear']
    named = [cameras[row] for row in whole.kept]
    # the rare camera keeps all it has, the others share the rest
    assert [named.count(name) for name in ('/left', '/right', '/rear')] == [31, 31, 2]
    with pytest.raises(KeyboardInterrupt):
        _filled(tmp_path / 'part', cameras, fail_at)
    state = tmp_path / 'part' / 'state.json'  # the one of an earlier checkpoint, as a crash leaves
    facts = json.loads(state.read_text())
    state.write_text(json.dumps({**facts, 'count': fail_at - 60, 'position': fail_at - 60}))
    again = _filled(tmp_path / 'part', cameras)
    assert again.kept == whole.kept
    assert again.state.cameras == whole.state.cameras
    for shard in (whole, again):
        shard.close()


def _two_cameras(folder: Path, offset: float, every: int = 1, pause: float = 0.0) -> FeatureTable:
    """Return 200 frames of /left at 10 Hz, still for 8 s, and /right some time behind."""
    shard, rng = Shard(folder, 1), np.random.default_rng(0)
    for i in range(200):
        for k, camera in enumerate(('/left', '/right')[: 2 if i % every == 0 else 1]):
            is_still = k == 0 and 50 <= i < 130
            shard.append(
                position=shard.state.count,
                stamp=i * 0.1 + k * offset + pause * (i >= 100),
                digest=bytes(32) if is_still else rng.bytes(32),
                size=(64, 64),
                camera=camera,
                health=np.zeros(9, np.float32),
                thumb=np.zeros((16, 16), np.uint8),
                features=np.zeros(1, np.float32),
            )
    shard.finish([])
    return FeatureTable((BackboneTap('a', 1, 8),), [shard])


@pytest.mark.parametrize('offset', [0.05, 0.01, -0.03])
def test_cameras_of_one_bag_have_their_own_time(tmp_path: Path, offset: float) -> None:
    table = _two_cameras(tmp_path / 'both', offset)
    assert table.frame_rate_hz() == pytest.approx(10.0)
    assert table.longest_still() == pytest.approx(7.9)
    assert table.backward_steps() == 0
    paused = _two_cameras(tmp_path / 'paused', offset, pause=60.0)
    assert paused.longest_still() == pytest.approx(7.8 + 1.0)  # nobody watched it for longer
    slow = _two_cameras(tmp_path / 'slow', offset, every=4)
    # of the slower one: a limit on the rate has to let each of them pass
    assert slow.frame_rate_hz() == pytest.approx(2.5)


@pytest.mark.parametrize('fail_at', [None, 1, 7])
def test_a_bar_is_found_in_the_camera_that_has_one_however_often_it_was_interrupted(
    tmp_path: Path, fail_at: int | None
) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    pictures[::2, -8:] = pictures[0, -8:]  # a quarter of the rows of /left
    pictures[4, 5] = pictures[2, 5]  # repeated elsewhere, too: no bar in this one
    items = [
        Item(k, str(k), partial(Picture, pictures[k], None), ('/left', '/right')[k % 2])
        for k in range(20)
    ]
    if fail_at is not None:
        with (
            pytest.raises(KeyboardInterrupt),
            contextlib.closing(Shard(tmp_path / 'shard', 5)) as shard,
        ):
            fill(shard, lambda k: iter(items[k:]), _Means(fail_at=fail_at), Preprocessor(32, 32))
    shard = Shard(tmp_path / 'shard', 5)
    fill(shard, lambda k: iter(items[k:]), _Means(), Preprocessor(32, 32))
    shard.finish([])
    rows = shard.rows()
    assert rows is not None
    np.testing.assert_array_equal(
        rows['repeats'], [math.nan, math.nan, *[0.25, 0.0, 0.0, 0.0], *[0.25, 0.0] * 7]
    )
    assert FeatureTable(_TAPS, [shard]).constant_bar() == 0.25


def test_rows_of_a_bag_know_their_topic(tmp_path: Path) -> None:
    pytest.importorskip('rosbags')
    rng = np.random.default_rng(0)
    with BagWriter(tmp_path / 'bag') as writer:
        for k in range(6):
            for camera, topic in enumerate(('/left/image', '/right/image')):
                rgb = rng.integers(0, 256, (40, 40, 3), np.uint8)
                writer.write_image(topic, rgb, stamp=100.0 + 0.1 * k + 0.05 * camera)
    with extract(
        Dataset([tmp_path / 'bag']), _Means(), Preprocessor(32, 32), _TAPS, backbone_sha256='x'
    ) as table:
        assert table.shards[0].state.cameras == ['/left/image', '/right/image']
        assert table.camera.tolist() == [0, 1] * 6
        assert table.frame_rate_hz() == pytest.approx(10.0)


def test_selection_takes_a_window_and_a_stride_of_a_bag() -> None:
    bag = Path(__file__).resolve().parents[1] / 'bags' / 'lunar_orbit' / 'bag'
    pytest.importorskip('rosbags')
    everything = list(Dataset([bag]).items(0))
    stamps = [item.decode().stamp for item in everything[:100]]
    window = Selection(start=1.0, end=3.0, every=5)
    chosen = [item.decode().stamp for item in Dataset([bag], window).items(0)]
    assert 3 <= len(chosen) <= 5
    assert set(chosen) <= set(stamps)
    assert all(0.9 <= stamp - stamps[0] < 3.0 for stamp in chosen)


def test_shards_differ_by_any_fact() -> None:
    assert cache_key(a=1, b=[2]) == cache_key(b=[2], a=1)
    assert cache_key(a=1, b=[2]) != cache_key(a=1, b=[3])


def test_a_thumbnail_is_grey_and_small() -> None:
    image = np.full((224, 224, 3), (10, 200, 30), np.uint8)
    thumb = thumbnail(image)
    assert thumb.shape == (16, 16)
    assert abs(int(thumb[0, 0]) - (0.299 * 10 + 0.587 * 200 + 0.114 * 30)) < 1.0
