"""The launch files for real; skipped where launch or an installed package is missing."""

from __future__ import annotations

import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.tiny_bundle import make_tiny_bundle

pytest.importorskip('launch_ros', reason='launch is not on this machine')
packages = pytest.importorskip('ament_index_python.packages')

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
                rgb[..., 0], rgb[..., 1:] = 255, 0
            writer.write_jpeg('/camera/image/compressed', rgb, 50.0 + 0.1 * k)
    return path


def _launch(*arguments: str) -> subprocess.Popen[str]:
    pytest.importorskip('ros2launch', reason='ros2 launch is not on this machine')
    try:
        packages.get_package_prefix('ros_ood_monitor')
    except (LookupError, packages.PackageNotFoundError):
        pytest.skip('ros_ood_monitor is not installed in an ament prefix')
    return subprocess.Popen(
        [sys.executable, '-c', RUN, 'launch', 'ros_ood_monitor', *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            'ROS_DOMAIN_ID': str(random.SystemRandom().randint(1, 101)),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
            'PYTHONUNBUFFERED': '1',
        },
        # launch stops its children by SIGINT, which a background job would ignore
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_replay_launch_plays_the_bag_alerts_and_ends_by_itself(bundle: Path, bag: Path) -> None:
    process = _launch('replay.launch.py', f'bundle:={bundle}', f'bag:={bag}', 'rate:=2.0')
    said, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said
    assert 'playing /camera/image/compressed onto /image/compressed' in said
    assert 'ALERT: 3 frames in a row over the threshold' in said
    assert 'played 30 frames' in said
    assert said.count('process has finished cleanly') == 2


def test_monitor_launch_activates_in_its_namespace_and_ends_on_ctrl_c(bundle: Path) -> None:
    process = _launch('monitor.launch.py', f'bundle:={bundle}', 'namespace:=rover', 'image:=/eye')
    assert process.stdout is not None
    end = time.monotonic() + DEADLINE_S
    said = ''
    while 'monitoring /eye' not in said:
        assert time.monotonic() < end, said
        said += process.stdout.readline()
    assert '[rover.ood_monitor]: configured with tiny@' in said
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    assert 'process has finished cleanly' in rest
