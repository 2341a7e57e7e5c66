"""ROS tests talk on a domain of their own, on this machine only."""

from __future__ import annotations

from collections.abc import Iterator
import importlib
from pathlib import Path
import warnings

import pytest

from ros_ood_monitor.ros.process.own_domain import take_domain
from tests.tiny_bundle import make_tiny_bundle

# before rclpy is initialised anywhere; child processes inherit it
take_domain()


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
