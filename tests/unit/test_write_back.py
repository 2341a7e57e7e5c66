"""What replay and evaluate write back: the node's topics, aligned with the pictures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
import subprocess
import sys
from typing import Any

import cv2
from mcap.reader import make_reader
import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import get_typestore, Stores

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.cli.main import main
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Observation
from ros_ood_monitor.replay import replay
from tests.bag_tools import image_message, STORE
from tests.tiny_bundle import make_tiny_bundle

START_NS = 1_800_000_000_123_456_789
IMAGE = 'sensor_msgs/msg/Image'


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', maps=True)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras at 10 Hz, one of them strange for a second; stamps to the last ns."""
    path = tmp_path_factory.mktemp('bags') / 'run'
    rng = np.random.default_rng(4)
    with BagWriter(path) as writer:
        for k in range(40):
            for camera in ('front', 'rear'):
                rgb = rng.uniform(100, 156, (60, 90, 3)).astype(np.uint8)
                if camera == 'front' and 15 <= k < 25:
                    rgb = rng.integers(0, 20, (60, 90, 3), np.uint8)
                    rgb[..., 0] += 230
                message = image_message(rgb)
                taken = START_NS + k * 100_000_001
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(taken, 10**9)
                writer.write(
                    f'/{camera}/image_raw', IMAGE, STORE.serialize_cdr(message, IMAGE), 0.0,
                    log_ns=taken + 20_000_003,
                )  # fmt: skip
    return path


def said(bundle: Bundle, bag: Path) -> list[Observation]:
    engine = Monitor.from_bundle(bundle).engine
    with BagReader(bag) as reader:
        return list(replay(lambda _: Monitor(bundle, engine), reader.frames()))


def read(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return log time and message by topic."""
    found: dict[str, list[tuple[int, Any]]] = {}
    store = get_typestore(Stores.ROS2_JAZZY)
    with AnyReader([path], default_typestore=store) as reader:
        for connection, time, data in reader.messages():
            message = reader.deserialize(data, connection.msgtype)
            found.setdefault(connection.topic, []).append((time, message))
    return found


def values(status: Any) -> dict[str, str]:
    return {one.key: one.value for one in status.values}


def stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)


@pytest.fixture(scope='module')
def written(bundle: Bundle, bag: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('out') / 'back'
    code = main(
        ['replay', str(bundle.path), str(bag), '--quiet', '--with-images', '--write-bag', str(out)]
    )
    assert code == 0
    return out


def test_every_answer_is_written_under_its_pictures_header(
    bundle: Bundle, bag: Path, written: Path
) -> None:
    found = read(written)
    expected = said(bundle, bag)
    assert len(expected) == 80
    observations = found['/ood_monitor/observation']
    assert len(observations) == 80
    for (time, message), observation in zip(observations, expected, strict=True):
        (status,) = message.status
        assert values(status)['raw_score'] == repr(observation.raw_score)
        assert values(status)['state'] == observation.state.value
        assert values(status)['bundle'] == f'tiny@{bundle.digest[:12]}'
        assert status.hardware_id == observation.camera
        assert message.header.frame_id == 'optical'
        # to the last ns, both
        assert (stamp_ns(message) - START_NS) % 100_000_001 == 0
        assert time == stamp_ns(message) + 20_000_003
    front = [o for o in expected if o.camera == 'front']
    scores = [message.data for _, message in found['/ood_monitor/front/score']]
    assert scores == pytest.approx([o.score for o in front])


def test_alerts_are_written_where_a_state_changes_and_tell_of_every_camera(
    bundle: Bundle, bag: Path, written: Path
) -> None:
    alerts = [message for _, message in read(written)['/ood_monitor/alert']]
    states = [tuple(values(status)['state'] for status in one.status) for one in alerts]
    changes = sum(o.alert.changed for o in said(bundle, bag))
    assert len(alerts) == changes + 2  # and each camera's first word
    assert states[0] == ('NORMAL',)
    assert ('ALERT', 'NORMAL') in states
    assert states[-1] == ('NORMAL', 'NORMAL')
    last = values(alerts[-1].status[0])
    assert float(last['duration']) == pytest.approx(1.2, abs=1e-3)
    assert float(last['peak']) == max(o.raw_score for o in said(bundle, bag))


def test_overlays_are_pictures_and_images_are_copied_byte_for_byte(
    bag: Path, written: Path
) -> None:
    found = read(written)
    _, overlay = found['/ood_monitor/rear/overlay/compressed'][7]
    drawn = cv2.imdecode(overlay.data, cv2.IMREAD_COLOR)
    assert drawn.shape[1] >= 320
    with BagReader(bag) as before, BagReader(written) as after:
        topics = ['/front/image_raw', '/rear/image_raw']
        pairs = zip(before.messages(topics), after.messages(topics), strict=True)
        assert sum(one == other for one, other in pairs) == 80


def test_one_file_opens_in_the_mcap_library_and_holds_no_images_unless_asked(
    bundle: Bundle, bag: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'new' / 'out.mcap'
    command = ['replay', str(bundle.path), str(bag), '--quiet', '--write-bag', str(out)]
    assert main([*command, '--topic', '/front/image_raw']) == 0
    with out.open('rb') as file:
        summary = make_reader(file).get_summary()
        assert summary is not None
        types = {c.topic: summary.schemas[c.schema_id].name for c in summary.channels.values()}
    assert types == {
        '/ood_monitor/score': 'std_msgs/msg/Float32',
        '/ood_monitor/observation': 'diagnostic_msgs/msg/DiagnosticArray',
        '/ood_monitor/alert': 'diagnostic_msgs/msg/DiagnosticArray',
        '/ood_monitor/overlay/compressed': 'sensor_msgs/msg/CompressedImage',
    }
    with BagReader(out) as reader:
        counts = Counter({topic.name: topic.count for topic in reader.topics()})
    assert counts['/ood_monitor/score'] == counts['/ood_monitor/overlay/compressed'] == 40
    assert sorted(path.name for path in out.parent.iterdir()) == ['out.mcap']


@pytest.mark.parametrize('name', ['there.mcap', 'there'])
def test_what_is_there_is_not_overwritten(
    bundle: Bundle, bag: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text('mine')
    assert main(['replay', str(bundle.path), str(bag), '--write-bag', str(tmp_path / name)]) == 1
    assert 'not overwritten' in capsys.readouterr().err
    assert (tmp_path / name).read_text() == 'mine'
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_that_fails_leaves_nothing_behind(
    bundle: Bundle, bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('ros_ood_monitor.write_back.annotated', fail)
    out = tmp_path / 'out.mcap'
    assert main(['replay', str(bundle.path), str(bag), '--write-bag', str(out)]) == 130
    assert list(tmp_path.iterdir()) == []


def test_evaluate_writes_each_bag_as_replay_does(
    bundle: Bundle, bag: Path, written: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    with BagWriter(tmp_path / 'other' / 'run') as writer:
        writer.write_image('/front/image_raw', np.full((60, 90, 3), 128, np.uint8), 10.0)
    command = ['evaluate', str(bundle.path), '--all-id', str(bag), '--no-cache']
    assert main([*command, '--write-bag', str(out), '--with-images']) == 0
    assert messages(out) == messages(written)
    command += ['--all-id', str(tmp_path / 'other' / 'run'), '--write-bag']
    assert main([*command, str(tmp_path / 'one.mcap')]) == 1
    assert main([*command, str(out)]) == 1
    assert main([*command, str(tmp_path / 'both')]) == 0
    assert sorted(path.name for path in (tmp_path / 'both').iterdir()) == ['0_run', '1_run']
    # a bag that fails does not move the others
    command[-3:] = ['--all-id', str(tmp_path / 'gone'), '--keep-going', '--write-bag']
    assert main([*command, str(tmp_path / 'left')]) == 0
    assert [path.name for path in (tmp_path / 'left').iterdir()] == [bag.name]


def messages(path: Path) -> list[tuple[int, str, Any]]:
    """Return everything but observations, which hold the time that scoring took."""
    with BagReader(path) as reader:
        topics = [topic.name for topic in reader.topics()]
        topics.remove('/ood_monitor/observation')
        return list(reader.messages(topics))


FULL_DISK = """
import resource, sys
from ros_ood_monitor.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_is_told_once_and_by_the_name_that_was_given(
    bundle: Bundle, bag: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'out.mcap'
    words = ['replay', str(bundle.path), str(bag), '--write-bag', str(out), '--with-images']
    done = subprocess.run(
        [sys.executable, '-c', FULL_DISK, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f'ood_monitor: error: cannot write bag: File too large; nothing is left of it: {out}'
    )
    assert list(tmp_path.iterdir()) == []


def test_images_without_a_bag_to_copy_them_into_are_refused(
    bundle: Bundle, bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['replay', str(bundle.path), str(bag), '--with-images']) == 2
    assert '--write-bag' in capsys.readouterr().err


def test_an_unusable_picture_has_no_score_on_its_topic_as_on_the_nodes(
    bundle: Bundle, tmp_path: Path
) -> None:
    normal = np.random.default_rng(5).uniform(100, 156, (60, 90, 3)).astype(np.uint8)
    with BagWriter(tmp_path / 'in') as writer:
        for k in range(8):
            black = np.zeros_like(normal)
            writer.write_image('/image_raw', black if k >= 4 else normal + k % 2, 10.0 + k / 10)
    out = tmp_path / 'out.mcap'
    assert main(['replay', str(bundle.path), str(tmp_path / 'in'), '--write-bag', str(out)]) == 0
    observations = said(bundle, tmp_path / 'in')
    assert [o.is_judged for o in observations] == [True] * 4 + [False] * 4
    scores = [message.data for _, message in read(out)['/ood_monitor/score']]
    assert np.isnan(scores).tolist() == [False] * 4 + [True] * 4
