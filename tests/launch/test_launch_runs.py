"""The launch files for real; skipped where launch or an installed package is missing."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from ros_ood_monitor.ros.process.own_domain import free_domain
from tests.tiny_bundle import make_tiny_bundle

pytest.importorskip('launch_ros', reason='launch is not on this machine')
packages = pytest.importorskip('ament_index_python.packages')

EXAMPLE = Path(__file__).resolve().parents[2] / 'docs' / 'examples' / 'robot_bringup'
RUN = 'import sys; from ros2cli.cli import main; sys.argv[0] = "ros2"; sys.exit(main())'
DEADLINE_S = 60.0


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny').path


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    from ros_ood_monitor.bags import BagWriter

    path = tmp_path_factory.mktemp('bags') / 'red'
    rng = np.random.default_rng(5)
    with BagWriter(path) as writer:
        for k in range(30):
            rgb = rng.uniform(100, 156, (120, 160, 3)).astype(np.uint8)
            if 10 <= k < 20:
                rgb = rng.integers(0, 50, rgb.shape, dtype=np.uint8)
                rgb[..., 0] += 200
            writer.write_jpeg('/camera/image/compressed', rgb, 50.0 + 0.1 * k)
    return path


@pytest.fixture(scope='module')
def environment() -> dict[str, str]:
    pytest.importorskip('ros2launch', reason='ros2 launch is not on this machine')
    try:
        packages.get_package_prefix('ros_ood_monitor')
    except (LookupError, packages.PackageNotFoundError):
        pytest.skip('ros_ood_monitor is not installed in an ament prefix')
    return {
        **os.environ,
        'ROS_DOMAIN_ID': str(free_domain()),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'PYTHONUNBUFFERED': '1',
    }


class Launched:
    """A launch under way, and what it has said."""

    def __init__(self, environment: dict[str, str], *arguments: str | Path) -> None:
        self.said = ''
        self.process = subprocess.Popen(
            [sys.executable, '-c', RUN, 'launch', *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            # launch stops its children by SIGINT, which a background job would ignore
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line

    def wait_for(self, *words: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while not all(word in self.said for word in words):
            assert time.monotonic() < end, self.said
            assert self.process.poll() is None, self.said
            time.sleep(0.02)

    def end(self) -> int:
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextlib.contextmanager
def launched(environment: dict[str, str], *arguments: str | Path) -> Iterator[Launched]:
    launch = Launched(environment, *arguments)
    try:
        yield launch
    finally:
        # killed, it would leave what it started behind, after a failure as well
        if launch.process.poll() is None:
            launch.process.send_signal(signal.SIGINT)
        code = launch.end()
    assert code == 0, launch.said


def ros2(environment: dict[str, str], *arguments: str, may_fail: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, '-c', RUN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        check=False,
        timeout=DEADLINE_S,
    )
    assert may_fail or done.returncode == 0, done.stdout
    return done.stdout.strip()


def test_replay_launch_plays_the_bag_alerts_and_ends_by_itself(
    environment: dict[str, str], bundle: Path, bag: Path
) -> None:
    # the strange second lasts for two: newer frames replace those that a busy node is late for
    arguments = ('replay.launch.py', f'bundle:={bundle}', f'bag:={bag}', 'rate:=0.5')
    with launched(environment, 'ros_ood_monitor', *arguments) as launch:
        launch.end()
    assert 'playing /camera/image/compressed onto /image/compressed' in launch.said
    assert 'ALERT: 3 frames in a row over the threshold' in launch.said
    assert 'played 30 frames' in launch.said
    assert launch.said.count('process has finished cleanly') == 2


def test_monitor_launch_activates_in_its_namespace_and_ends_on_ctrl_c(
    environment: dict[str, str], bundle: Path
) -> None:
    arguments = ('monitor.launch.py', f'bundle:={bundle}', 'namespace:=rover', 'image:=/eye')
    with launched(environment, 'ros_ood_monitor', *arguments) as launch:
        launch.wait_for('monitoring /eye')
    assert '[rover.ood_monitor]: configured with tiny@' in launch.said
    assert 'process has finished cleanly' in launch.said


TWO_MONITORS = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch_ros.actions import PushRosNamespace, SetRemap

from ros_ood_monitor.ros.launching.monitor import monitor_node, shared


def generate_launch_description():
    include = IncludeLaunchDescription(
        shared('launch', 'monitor.launch.py'), launch_arguments={'bundle': BUNDLE}.items()
    )
    return LaunchDescription([
        GroupAction([PushRosNamespace('front'), SetRemap('image', 'image_raw'), include]),
        GroupAction([PushRosNamespace('rear'), monitor_node(bundle=BUNDLE, image='image_raw')]),
    ])
"""


def test_two_monitors_in_one_launch_watch_the_cameras_of_their_namespaces(
    environment: dict[str, str], bundle: Path, tmp_path: Path
) -> None:
    file = tmp_path / 'two.launch.py'
    file.write_text(TWO_MONITORS.replace('BUNDLE', repr(str(bundle))))
    with launched(environment, file) as launch:
        launch.wait_for('monitoring /front/image_raw', 'monitoring /rear/image_raw')
    assert launch.said.count('process has finished cleanly') == 2


@pytest.fixture(scope='module')
def robot(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the example package into a prefix of its own."""
    prefix = tmp_path_factory.mktemp('prefix')
    shutil.copytree(EXAMPLE, prefix / 'share' / 'robot_bringup')
    marker = prefix / 'share/ament_index/resource_index/packages/robot_bringup'
    marker.parent.mkdir(parents=True)
    marker.touch()
    path = os.pathsep.join([str(prefix), environment['AMENT_PREFIX_PATH']])
    return {**environment, 'AMENT_PREFIX_PATH': path}


@pytest.mark.parametrize('language', ['py', 'xml', 'yaml'])
def test_a_robot_that_includes_the_monitor_watches_both_of_its_cameras(
    robot: dict[str, str], bundle: Path, language: str
) -> None:
    if language != 'py':
        pytest.importorskip(f'launch_{language}', reason='launch cannot read it here')
    arguments = (f'bringup.launch.{language}', f'bundle:={bundle}', 'drivers:=false')
    with launched(robot, 'robot_bringup', *arguments) as launch:
        launch.wait_for('configured with', '/robot/front/image_raw', '/robot/rear/image_raw')
    assert 'unknown parameter' not in launch.said


def test_a_robot_made_of_actions_watches_both_of_its_cameras(
    robot: dict[str, str], bundle: Path
) -> None:
    arguments = ('actions.launch.py', f'bundle:={bundle}', 'drivers:=false')
    with launched(robot, 'robot_bringup', *arguments) as launch:
        launch.wait_for('monitoring /front/image_raw', 'monitoring /rear/image_raw')


@pytest.fixture
def daemon(environment: dict[str, str]) -> Iterator[None]:
    """Let the commands ask one process that knows the nodes already, as they do on a robot."""
    pytest.importorskip('ros2lifecycle', reason='ros2 lifecycle is not on this machine')
    ros2(environment, 'daemon', 'start')
    yield
    ros2(environment, 'daemon', 'stop')


def test_a_lifecycle_manager_drives_the_node_in_its_namespace(
    environment: dict[str, str], bundle: Path, daemon: None
) -> None:
    node = '/rover/ood_monitor'
    arguments = ('autostart:=false', 'namespace:=rover', 'use_sim_time:=true', 'image:=eye')
    with launched(
        environment, 'ros_ood_monitor', 'monitor.launch.py', f'bundle:={bundle}', *arguments
    ) as launch:
        launch.wait_for('process started')

        def lifecycle(*words: str) -> str:
            return ros2(environment, 'lifecycle', *words)

        def param(*words: str) -> str:
            return ros2(environment, 'param', *words)

        end = time.monotonic() + DEADLINE_S
        get = ('lifecycle', 'get', node)
        while (state := ros2(environment, *get, may_fail=True)) == 'Node not found':
            assert time.monotonic() < end
        assert state == 'unconfigured [1]'
        assert lifecycle('set', node, 'configure') == 'Transitioning successful'
        assert lifecycle('set', node, 'activate') == 'Transitioning successful'
        launch.wait_for('monitoring /rover/eye')
        assert param('get', node, 'use_sim_time') == 'Boolean value is: True'
        assert param('set', node, 'alert.trigger_frames', '5') == 'Set parameter successful'
        assert 'applies on configure' in param('set', node, 'model.threads', '2')
        heard = ros2(
            environment, 'topic', 'echo', '--once', '--qos-durability=transient_local',
            '--qos-reliability=reliable', f'{node}/alert', 'diagnostic_msgs/msg/DiagnosticArray',
        )  # fmt: skip
        assert 'rover/ood_monitor: alert' in heard
        for transition in ('deactivate', 'cleanup', 'shutdown'):
            assert lifecycle('set', node, transition) == 'Transitioning successful'
        assert lifecycle('get', node) == 'finalized [4]'
