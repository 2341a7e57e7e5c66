"""ROS tests talk on a domain of their own, on this machine only."""

from __future__ import annotations

from collections.abc import Iterator
import importlib
import os
from pathlib import Path
import random
import warnings

import pytest

from tests.tiny_bundle import make_tiny_bundle

# must stand before rclpy is initialised anywhere; child processes inherit it. 0 is everybody's
# default, ports of domains over 101 collide with ephemeral ones, and up to four runs of pytest
# side by side never share one.
WORKER = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
os.environ['ROS_DOMAIN_ID'] = str(1 + WORKER % 4 + 4 * random.SystemRandom().randrange(25))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'


@pytest.fixture(scope='session')
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a real bundle of a few kilobytes: grey noise is normal, saturated colour is not."""
    return make_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny').path


@pytest.fixture(scope='session')
def ros() -> Iterator[None]:
    """Initialise ROS for the tests that run a node in this process."""
    rclpy = pytest.importorskip('rclpy')
    with warnings.catch_warnings():
        # message support imports the parser lark, which imports deprecated modules of Python's re
        warnings.filterwarnings('ignore', "module 'sre_.*' is deprecated", DeprecationWarning)
        importlib.import_module('rosidl_generator_py')
    from rclpy.signals import SignalHandlerOptions

    # pytest keeps its own Ctrl-C
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    yield
    rclpy.try_shutdown()
