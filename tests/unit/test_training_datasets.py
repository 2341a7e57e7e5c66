"""Frames for training: order, sequences, and damage that is named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.errors import ParameterError, TrainingError
from ros_ood_monitor.preprocess import Preprocessor
from ros_ood_monitor.training.frames.datasets import Dataset
from ros_ood_monitor.training.frames.reading import read_ahead
from ros_ood_monitor.training.frames.selection import Selection
from tests.bag_tools import image_bytes
from tests.training_tools import scene, write_scenes


def write_bag(path: Path, count: int, *, topic: str = '/front/image/compressed') -> Path:
    with BagWriter(path) as bag:
        for index in range(count):
            bag.write_jpeg(topic, scene(index), 100.0 + 0.1 * index)
    return path


class Read(NamedTuple):
    """A frame that was read, with its sequence."""

    rgb: object
    stamp: float | None
    sequence: int


as_it_is: Any = lambda rgb: rgb[np.newaxis]  # noqa: E731, pictures of any size


def read_all(dataset: Dataset) -> list[Read]:
    found = []
    for index in range(len(dataset.sequences)):
        for decoded in read_ahead(dataset.items(index), as_it_is):
            if decoded.image is not None:
                found.append(Read(decoded.image, decoded.stamp, index))
    return found


def test_folder_is_one_stream_in_natural_order(tmp_path: Path) -> None:
    write_scenes(tmp_path / 'data', 12)
    dataset = Dataset([tmp_path / 'data'])
    frames = read_all(dataset)
    assert dataset.count() == len(frames) == 12
    assert dataset.sequences == ['data']
    assert all(np.array_equal(frames[k].rgb[0, 0], scene_corner(k)) for k in range(12))
    assert frames[0].stamp is None


def scene_corner(index: int) -> object:
    from tests.training_tools import SIZES

    return scene(index, SIZES[index % len(SIZES)])[0, 0]


def test_each_folder_with_images_is_a_sequence(tmp_path: Path) -> None:
    for name in ('run10', 'run2', 'deep/run1'):
        write_scenes(tmp_path / 'data' / name, 3)
    dataset = Dataset([tmp_path / 'data'])
    assert dataset.sequences == ['data/deep/run1', 'data/run2', 'data/run10']
    assert [frame.sequence for frame in read_all(dataset)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_each_bag_is_a_sequence_with_stamps(tmp_path: Path) -> None:
    bags = [write_bag(tmp_path / name, 4) for name in ('a', 'b')]
    dataset = Dataset(bags)
    frames = read_all(dataset)
    assert dataset.has_only_bags
    assert dataset.sequences == ['a', 'b']
    assert dataset.count() == len(frames) == 8
    assert [frame.stamp for frame in frames[:2]] == pytest.approx([100.0, 100.1])


@pytest.mark.parametrize(
    ('selection', 'expected', 'most'),
    [
        ({}, 40, 40),
        ({'start': 1.0, 'end': 2.0}, 11, 40),
        ({'start': 2.9, 'every': 3}, 4, 14),
        ({'end': 99.0}, 40, 40),
        ({'start': 5.0}, 0, 0),
    ],
)
def test_a_window_is_expected_to_give_its_share_of_a_bag(
    tmp_path: Path, selection: dict[str, Any], expected: int, most: int
) -> None:
    bag = write_bag(tmp_path / 'bag', 40)  # ten a second
    dataset = Dataset([bag], Selection(**selection))
    taken = len(read_all(dataset)) if expected else 0
    assert dataset.counts == (40, most, expected)
    assert abs(expected - taken) <= 1
    assert taken <= most


def test_folder_of_bags_gives_each_bag(tmp_path: Path) -> None:
    for name in ('run2', 'run10'):
        write_bag(tmp_path / 'bags' / name, 3)
    assert Dataset([tmp_path / 'bags']).sequences == ['bags/run2', 'bags/run10']


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def overlapping(tmp_path: Path, how: str) -> list[Path]:
    """Return arguments that reach the six pictures of data/ and of data/sub/ more than once."""
    data = tmp_path / 'data'
    link = tmp_path / 'link'
    link.symlink_to(data, target_is_directory=True)
    return {
        'same': [data, data],
        'other spelling': [data, data / 'sub' / '..'],
        'part': [data, data / 'sub'],
        'part first': [data / 'sub', data],
        'link': [data, link],
    }[how]


@pytest.mark.parametrize(
    ('how', 'repeated'),
    [('same', 6), ('other spelling', 6), ('part', 2), ('part first', 2), ('link', 6)],
)
def test_a_file_that_two_arguments_reach_is_used_once_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, repeated: int
) -> None:
    write_scenes(tmp_path / 'data', 4)
    write_scenes(tmp_path / 'data' / 'sub', 2, first=4)
    roots = overlapping(tmp_path, how)
    dataset = Dataset(roots)
    pictures = {frame.rgb.tobytes() for frame in read_all(dataset)}
    assert dataset.count() == len(read_all(dataset)) == len(pictures) == 6
    assert len(dataset.sequences) == 2
    (warning,) = warnings_of(caplog)
    assert f'{repeated} image files below' in warning
    assert all(repr(str(root)) in warning for root in roots)


def test_a_link_to_a_file_of_the_same_folder_is_used_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = write_scenes(tmp_path / 'data', 3)
    (data / 'again.png').symlink_to(data / 'frame_1.png')
    assert Dataset([data]).count() == 3
    (warning,) = warnings_of(caplog)
    assert warning.endswith(f"1 image file below '{data}' more than once")


def test_folders_of_different_files_are_not_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = [write_scenes(tmp_path / name, 3) for name in ('a', 'b')]
    assert Dataset(folders).count() == 6
    assert not caplog.records


@pytest.mark.parametrize('file_first', [True, False])
def test_a_bag_that_two_arguments_reach_is_used_once_and_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file_first: bool
) -> None:
    bag = write_bag(tmp_path / 'bags' / 'run', 4)
    (file,) = bag.glob('*.mcap')
    arguments = [tmp_path / 'bags', bag, file]
    dataset = Dataset(arguments[::-1] if file_first else arguments)
    assert dataset.count() == len(read_all(dataset)) == 4
    assert len(dataset.sequences) == 1
    (warning,) = warnings_of(caplog)
    assert warning.count('1 bag below') == 2


def test_bags_that_share_a_part_are_refused(tmp_path: Path) -> None:
    for name in 'abc':
        write_bag(tmp_path / name, 2)
    for folder, parts in (('ab', 'ab'), ('bc', 'bc')):
        (tmp_path / folder).mkdir()
        for part in parts:
            (file,) = (tmp_path / part).glob('*.mcap')
            (tmp_path / folder / file.name).symlink_to(file)
    with pytest.raises(TrainingError, match=r'share a file but not all of theirs; .*/b/.*mcap$'):
        Dataset([tmp_path / 'ab', tmp_path / 'bc'])


def test_bags_and_images_of_one_folder_are_both_used_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_scenes(tmp_path / 'data' / 'pictures', 3)
    write_bag(tmp_path / 'data' / 'deep' / 'run', 4)
    dataset = Dataset([tmp_path / 'data'])
    assert dataset.sequences == ['data/deep/run', 'data/pictures']
    assert [frame.sequence for frame in read_all(dataset)] == [0] * 4 + [1] * 3
    assert not dataset.has_only_bags
    (warning,) = warnings_of(caplog)
    assert '1 bag and 3 image files, all of them are used' in warning


def test_images_inside_of_a_bag_are_not_used_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bag = write_bag(tmp_path / 'run', 4)
    write_scenes(bag / 'previews', 1)
    assert Dataset([bag]).count() == 4
    (warning,) = warnings_of(caplog)
    assert warning.startswith('not used: 1 image file inside of bag folders')


def test_figures_of_bundles_and_snapshots_are_no_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_scenes(tmp_path / 'data' / 'frames', 4)
    bundle, snapshot = tmp_path / 'data' / 'model', tmp_path / 'data' / 'alerts' / 'one'
    write_scenes(bundle / 'report', 2)
    write_scenes(snapshot, 3)
    for file in (bundle / 'manifest.yaml', bundle / 'scorer.onnx', snapshot / 'snapshot.yaml'):
        file.write_text('')
    # a name that others use, too: without a scorer it is no bundle
    (tmp_path / 'data' / 'frames' / 'manifest.yaml').write_text('')
    dataset = Dataset([tmp_path / 'data'])
    assert (dataset.sequences, dataset.count()) == (['data/frames'], 4)
    (told,) = warnings_of(caplog)
    assert told.startswith('not used: 5 image files inside of bundles or snapshots (')
    assert str(bundle) in told
    assert str(snapshot) in told
    for place in (bundle, snapshot, tmp_path / 'data' / 'alerts'):
        with pytest.raises(TrainingError, match=r'no training data: .* bundles or snapshots'):
            Dataset([place])


def test_images_with_a_metadata_file_of_another_kind_are_no_bag(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / 'data', 3)
    (data / 'metadata.yaml').write_text('licence: CC0-1.0\n')
    assert Dataset([data]).count() == 3


def test_every_nth_frame_is_counted_and_taken_per_sequence(tmp_path: Path) -> None:
    write_scenes(tmp_path / 'data' / 'a', 5)
    write_scenes(tmp_path / 'data' / 'b', 4)
    dataset = Dataset([tmp_path / 'data', write_bag(tmp_path / 'bag', 7)], Selection(every=3))
    frames = [frame.sequence for frame in read_all(dataset)]
    assert frames == [0, 0, 1, 1, 2, 2, 2]
    assert dataset.count() == 7


def test_corrupt_image_is_skipped_and_named(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / 'data', 6)
    broken = data / 'frame_3.png'
    broken.write_bytes(broken.read_bytes()[:200])
    (data / 'frame_4.png').write_bytes(b'')
    found = list(read_ahead(Dataset([data]).items(0), Preprocessor(8, 8)))
    broken_ones = [decoded for decoded in found if decoded.image is None]
    assert len(found) == 6
    assert [decoded.item.name for decoded in broken_ones] == [
        'data/frame_3.png',
        'data/frame_4.png',
    ]
    assert 'truncated' in broken_ones[0].problem
    assert str(tmp_path) not in broken_ones[0].problem


def test_items_start_at_a_position_and_can_be_chosen(tmp_path: Path) -> None:
    dataset = Dataset([write_scenes(tmp_path / 'data', 6), write_bag(tmp_path / 'bag', 5)])
    assert [item.position for item in dataset.items(0, 4)] == [4, 5]
    assert [item.position for item in dataset.items(1, only={1, 3})] == [1, 3]
    one, other = (next(iter(dataset.items(1, position))).decode() for position in (0, 3))
    assert (one.stamp, other.stamp) == (pytest.approx(100.0), pytest.approx(100.3))


def test_a_window_of_a_bag_is_in_seconds_from_its_start(tmp_path: Path) -> None:
    dataset = Dataset([write_bag(tmp_path / 'bag', 20)], Selection(start=0.45, end=1.05, every=2))
    stamps = [item.decode().stamp for item in dataset.items(0)]
    assert stamps == pytest.approx([100.5, 100.7, 100.9])


@pytest.mark.parametrize(
    'window',
    [(2.0, 1.0), (-1.0, None), (1.0, 1.0), (math.nan, None), (0.0, math.nan), (math.inf, None)],
)
def test_an_empty_window_is_refused(tmp_path: Path, window: tuple[float, float | None]) -> None:
    with pytest.raises(TrainingError, match='window is empty'):
        Dataset([tmp_path], Selection(start=window[0], end=window[1]))


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('compression', ['none', 'file'])
def test_log_time_that_runs_backwards_is_counted_by_file(
    tmp_path: Path, storage: str, compression: str
) -> None:
    log_times = [1.0, 1.1, 1.2, 0.5, 0.6, 0.4, 0.7]
    with BagWriter(tmp_path / 'bag', storage=storage, compression=compression) as writer:
        for index, log_time in enumerate(log_times):
            message = image_bytes(index)
            writer.write('/image', 'sensor_msgs/msg/Image', message, log_time)
            writer.write('/other', 'sensor_msgs/msg/Image', message, 9.0 - log_time)
    dataset = Dataset([tmp_path / 'bag'], Selection(topics=('/image',)))
    assert len(list(dataset.items(0))) == len(log_times)
    (line,) = dataset.missing[0]
    assert '(log time runs backwards 2 times; its frames are used in order of log t' in line
    steady = Dataset([write_bag(tmp_path / 'steady', 5)])
    list(steady.items(0))
    assert steady.missing[0] == []


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_clock_that_is_set_back_between_two_files_is_counted(
    tmp_path: Path, storage: str
) -> None:
    folder = tmp_path / 'split'
    folder.mkdir()
    for part, start in enumerate((100.0, 90.0, 91.0)):
        with BagWriter(tmp_path / f'split_{part}', storage=storage) as writer:
            for k in range(5):
                message = image_bytes(k)
                writer.write('/image', 'sensor_msgs/msg/Image', message, start + 0.1 * k)
        (file,) = (tmp_path / f'split_{part}').glob('split*')
        file.rename(folder / file.name)
    with BagReader(folder) as reader:
        ((name, count),) = reader.backward_steps().items()
    assert (Path(name).stem, count) == ('split_1', 1)


def test_a_window_without_a_bag_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_scenes(tmp_path / 'images', 3)
    Dataset([folder], Selection(start=1.0))
    (warning,) = warnings_of(caplog)
    assert 'the window (--start, --end) is of bags, and the data holds none' in warning
    caplog.clear()
    Dataset([folder, write_bag(tmp_path / 'bag', 2)], Selection(start=1.0))
    assert not any('window' in line for line in warnings_of(caplog))


def test_a_list_names_images_bags_and_folders(tmp_path: Path) -> None:
    write_scenes(tmp_path / 'a', 5)
    write_scenes(tmp_path / 'b', 3)
    write_bag(tmp_path / 'bag', 4)
    lines = ['# chosen by hand', 'a/frame_3.png', 'a/frame_1.png  # sharp', '', 'bag', 'b']
    (tmp_path / 'chosen.txt').write_text('\n'.join(lines))
    dataset = Dataset([tmp_path / 'chosen.txt'])
    assert dataset.sequences == ['chosen/a', 'bag', 'b']
    assert [item.name for item in dataset.items(0)] == [
        'chosen/a/frame_3.png',
        'chosen/a/frame_1.png',
    ]
    assert len(read_all(dataset)) == 2 + 4 + 3


def test_a_list_that_names_what_is_not_there_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / 'chosen.txt').write_text('# none\nabsent.png\n')
    with pytest.raises(TrainingError, match=r'line 2 .*absent\.png'):
        Dataset([tmp_path / 'chosen.txt'])
    (tmp_path / 'chosen.txt').write_text('\n')
    with pytest.raises(TrainingError, match='is empty'):
        Dataset([tmp_path / 'chosen.txt'])


def test_folders_named_like_labels_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_scenes(tmp_path / 'data' / 'good', 2)
    write_scenes(tmp_path / 'data' / 'defect', 2)
    assert Dataset([tmp_path / 'data']).count() == 4
    (record,) = caplog.records
    assert "'defect'" in record.getMessage()


def test_unknown_topic_is_refused_before_anything_is_decoded(tmp_path: Path) -> None:
    dataset = Dataset([write_bag(tmp_path / 'bag', 2)], Selection(topics=['/rear/image']))
    with pytest.raises(ParameterError, match='/front/image/compressed'):
        dataset.count()


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='folder holds no image'):
        Dataset([tmp_path])


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='not found'):
        Dataset([tmp_path / 'nowhere'])


def test_unreadable_folder_is_refused(tmp_path: Path) -> None:
    loop = tmp_path / 'loop'
    loop.symlink_to(loop)  # cannot be opened, whoever tries
    with pytest.raises(TrainingError, match=r'not found|cannot be listed'):
        Dataset([loop])


def test_folder_that_refuses_listing_is_refused(tmp_path: Path) -> None:
    write_scenes(tmp_path / 'data' / 'closed', 2)
    closed = tmp_path / 'data' / 'closed'
    closed.chmod(0)
    try:
        try:
            list(closed.iterdir())
        except PermissionError:
            with pytest.raises(TrainingError, match='cannot be listed'):
                Dataset([tmp_path / 'data'])
        else:
            pytest.skip('this user may list every folder')
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize('every', [0, -1])
def test_every_must_be_positive(tmp_path: Path, every: int) -> None:
    with pytest.raises(TrainingError, match='at least 1'):
        Dataset([tmp_path], Selection(every=every))
