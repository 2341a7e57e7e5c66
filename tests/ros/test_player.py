from __future__ import annotations

from collections.abc import Iterator
import contextlib
import itertools
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('rosbags')

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from ros_ood_monitor.bags import BagReader, BagWriter
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.errors import BagError, ParameterError
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.replay import replay
from ros_ood_monitor.ros.demo.player import BagPlayer
from tests.ros.harness import (
    normal_frame,
    peer,
    RELIABLE,
    running_node,
    strange_frame,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

COUNT = 24
PLAYERS = itertools.count()


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a normal stretch, a strange one and a normal one, as JPEG and raw."""
    folder = tmp_path_factory.mktemp('bags')
    paths = {'jpeg': folder / 'jpeg', 'raw': folder / 'raw'}
    with (
        BagWriter(paths['jpeg'], compression='message') as jpeg,
        BagWriter(paths['raw'], storage='sqlite3') as raw,
    ):
        for k in range(COUNT):
            rgb = strange_frame(90, 120) if 8 <= k < 14 else normal_frame(k, 90, 120)
            stamp = 1000.0 + 0.05 * k
            jpeg.write_jpeg('/cam/image/compressed', rgb, stamp, frame_id='optical')
            raw.write_image('/cam/image', rgb, stamp, frame_id='optical')
    return paths


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node('player_under_test')
    yield made
    made.destroy_node()


def _play(node: Node, bag: Path, *, rate: float = 50.0, **options: Any) -> int:
    player = BagPlayer(node, str(bag), **options)
    try:
        assert player.wait_for_subscriber(60.0, threading.Event())
        played = player.play(rate=rate, stop=threading.Event())
        assert played.finished
        return played.count
    finally:
        player.close()


@pytest.mark.parametrize('kind', ['jpeg', 'raw'])
def test_frames_arrive_as_they_are_in_the_bag(
    node: Node, bags: dict[str, Path], kind: str
) -> None:
    got: list[Any] = []
    with peer() as me:
        if kind == 'jpeg':
            me.node.create_subscription(CompressedImage, 'image/compressed', got.append, RELIABLE)
        else:
            me.node.create_subscription(Image, 'image', got.append, RELIABLE)
        assert _play(node, bags[kind]) == COUNT
        wait_until(lambda: len(got) == COUNT, 'all frames')
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in got]
    np.testing.assert_allclose(stamps, 1000.0 + 0.05 * np.arange(COUNT))
    assert {m.header.frame_id for m in got} == {'optical'}
    if kind == 'raw':
        np.testing.assert_array_equal(
            np.frombuffer(got[3].data, np.uint8), normal_frame(3, 90, 120).reshape(-1)
        )


def test_restamped_frames_carry_the_time_of_playing_and_nothing_else_changes(
    node: Node, bags: dict[str, Path]
) -> None:
    got: list[Image] = []
    before = node.get_clock().now().nanoseconds
    with peer() as me:
        me.node.create_subscription(Image, 'image', got.append, RELIABLE)
        _play(node, bags['raw'], restamp=True)
        wait_until(lambda: len(got) == COUNT, 'all frames')
    after = node.get_clock().now().nanoseconds
    stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in got]
    assert before < stamps[0] < stamps[-1] < after
    assert got[0].header.frame_id == 'optical'
    assert (got[0].height, got[0].width) == (90, 120)


def test_rate_stretches_the_recorded_pace(node: Node, bags: dict[str, Path]) -> None:
    with peer() as me:
        me.node.create_subscription(Image, 'image', lambda _: None, RELIABLE)
        player = BagPlayer(node, str(bags['raw']))
        assert player.wait_for_subscriber(60.0, threading.Event())
        played = player.play(rate=4.0, stop=threading.Event())
        player.close()
    assert played.seconds >= 0.05 * (COUNT - 1) / 4.0


def test_player_without_a_listener_gives_up(node: Node, bags: dict[str, Path]) -> None:
    player = BagPlayer(node, str(bags['raw']), topic='nobody_listens_here')
    assert not player.wait_for_subscriber(0.1, threading.Event())
    player.close()


def test_stopped_player_ends_at_once(node: Node, bags: dict[str, Path]) -> None:
    stop = threading.Event()
    stop.set()
    player = BagPlayer(node, str(bags['raw']))
    played = player.play(rate=0.001, stop=stop)
    player.close()
    assert (played.count, played.finished) == (0, False)


def test_bag_with_two_image_topics_needs_to_be_told_which(node: Node, tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'two') as writer:
        writer.write_image('/left/image', normal_frame(), 1.0)
        writer.write_image('/right/image', normal_frame(), 1.0)
    with pytest.raises(ParameterError, match='expected one of /left/image, /right/image'):
        BagPlayer(node, str(tmp_path / 'two'))
    assert BagPlayer(node, str(tmp_path / 'two'), source='/right/image').topic == '/image'


def test_bag_without_pictures_is_refused_with_its_topics(node: Node, tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'none') as writer:
        message = writer.make('std_msgs/msg/Float32', data=1.0)
        writer.write('/speed', 'std_msgs/msg/Float32', message, 1.0)
    with pytest.raises(BagError, match=r'it has /speed \(std_msgs/msg/Float32\)'):
        BagPlayer(node, str(tmp_path / 'none'))


@pytest.mark.parametrize('kind', ['jpeg', 'raw'])
def test_online_equals_replay_in_raw_score_score_and_state(
    node: Node, bags: dict[str, Path], tiny_bundle: Path, kind: str
) -> None:
    parameters: dict[str, Any] = {
        'model__bundle': str(tiny_bundle),
        'input__transport': 'compressed' if kind == 'jpeg' else 'raw',
        'input__reliability': 'reliable',
    }
    with running_node(**parameters), peer() as me:
        me.activate()
        player = BagPlayer(node, str(bags[kind]))
        assert player.wait_for_subscriber(60.0, threading.Event())
        played = player.play(
            rate=1e6,
            stop=threading.Event(),
            before_each=lambda count: wait_until(
                lambda: len(me.observations) >= count, 'the frame before'
            ),
        )
        assert played.count == COUNT
        player.close()
        wait_until(lambda: len(me.observations) == COUNT, 'an observation of every frame')
        online = [
            tuple(values(m)[key] for key in ('raw_score', 'score', 'threshold', 'state'))
            for m in me.observations
        ]
    monitor = Monitor.from_bundle(Bundle.load(tiny_bundle))
    with BagReader(bags[kind]) as reader:
        replayed = list(replay(monitor, reader.frames()))
    assert online == [
        (repr(o.raw_score), repr(o.score), repr(o.threshold), o.state.value) for o in replayed
    ]
    # the comparison means something only where the states change
    assert {state for *_, state in online} >= {'NORMAL', 'SUSPECT', 'ALERT'}


COMMAND = [sys.executable, '-m', 'ros_ood_monitor', 'play']


def test_command_plays_onto_the_topic_that_ros_is_told(bags: dict[str, Path]) -> None:
    got: list[CompressedImage] = []
    ros = ['--ros-args', '-r', 'image:=/eye', '-r', '__ns:=/rover']
    with peer() as me:
        me.node.create_subscription(CompressedImage, '/eye/compressed', got.append, RELIABLE)
        done = subprocess.run(
            # slow enough for the queue of ten to last until the listener knows the player, too
            [*COMMAND, str(bags['jpeg']), '--rate', '2', '--restamp', *ros],
            capture_output=True,
            text=True,
            timeout=60.0,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        wait_until(lambda: len(got) == COUNT, 'all frames')
    assert '[rover.bag_player]: playing /cam/image/compressed onto /eye/compressed' in done.stderr
    assert f'played {COUNT} frames' in done.stderr
    assert got[0].header.stamp.sec > 1_000_000  # not as in the bag


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--wait', '0.1'], 'nobody subscribed to /image within 0.1 s'),
        (['--source', '/rear'], "expected one of /cam/image, got '/rear'"),
        (['--ros-args', '--no-such'], 'unknown ROS arguments: expected such as -p, -r'),
        (['--ros-args', '-r', 'image:=a b'], 'ROS does not start: '),
    ],
)
def test_command_says_in_one_line_why_it_does_not_play(
    bags: dict[str, Path], words: list[str], said: str
) -> None:
    done = subprocess.run(
        [*COMMAND, str(bags['raw']), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith('ood_monitor: error: ')
    assert said in line


@contextlib.contextmanager
def _waiting_player(node: Node, bag: Path) -> Iterator[subprocess.Popen[str]]:
    # a name that no player before had: the graph knows one for a while after its end
    name = f'player_{os.getpid()}_{next(PLAYERS)}'
    process = subprocess.Popen(
        [*COMMAND, str(bag), '--ros-args', '-r', f'__node:={name}'],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: name in node.get_node_names(), 'the player to run')
        yield process
    finally:
        process.kill()
        _, said = process.communicate()
    assert said == ''


@pytest.mark.parametrize('count', [1, 5])
def test_signals_end_a_player_that_waits_with_zero(
    node: Node, bags: dict[str, Path], count: int
) -> None:
    with _waiting_player(node, bags['raw']) as process:
        for _ in range(count):
            process.send_signal(signal.SIGINT)
        assert process.wait(60.0) == 0


def test_ctrl_c_again_and_again_until_a_player_is_gone_changes_nothing(
    node: Node, bags: dict[str, Path]
) -> None:
    with _waiting_player(node, bags['raw']) as process:
        end = time.monotonic() + 60.0
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert time.monotonic() < end
            time.sleep(0.002)
        assert process.returncode == 0
