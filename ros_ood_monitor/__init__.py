"""Tells a robot, per camera frame, how unlike its training data the picture is."""

from __future__ import annotations

import importlib
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from ros_ood_monitor.bundle import Bundle
    from ros_ood_monitor.errors import (
        BagError,
        BundleError,
        CalibrationError,
        DecodeError,
        EngineError,
        OodMonitorError,
        ParameterError,
        TrainingError,
    )
    from ros_ood_monitor.monitor import Monitor
    from ros_ood_monitor.records import AlertState, Frame, Observation, Reading, State

__version__ = '0.1.0'

_HOME = {
    'AlertState': 'records',
    'BagError': 'errors',
    'Bundle': 'bundle',
    'BundleError': 'errors',
    'CalibrationError': 'errors',
    'DecodeError': 'errors',
    'EngineError': 'errors',
    'Frame': 'records',
    'Monitor': 'monitor',
    'Observation': 'records',
    'OodMonitorError': 'errors',
    'ParameterError': 'errors',
    'Reading': 'records',
    'State': 'records',
    'TrainingError': 'errors',
}

__all__ = [
    'AlertState',
    'BagError',
    'Bundle',
    'BundleError',
    'CalibrationError',
    'DecodeError',
    'EngineError',
    'Frame',
    'Monitor',
    'Observation',
    'OodMonitorError',
    'ParameterError',
    'Reading',
    'State',
    'TrainingError',
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f'module {__name__!r} has no attribute {name!r}'
        raise AttributeError(msg)
    return getattr(importlib.import_module(f'{__name__}.{_HOME[name]}'), name)


def __dir__() -> list[str]:
    return [*__all__, '__version__']
