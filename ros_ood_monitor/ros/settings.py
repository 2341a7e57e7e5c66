"""The values of all parameters at one moment, typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.parameters import check_value, PARAMETERS, Value

__all__ = ['Settings']


@dataclass(frozen=True)
class Settings:
    """
    The values of all parameters; a field is a parameter's name with ``_`` for the dot.

    See `PARAMETERS` for what they mean.
    """

    model_bundle: str
    model_engine: str
    model_precision: str
    model_threads: int
    model_device: int
    model_engine_cache: str
    input_topics: tuple[str, ...]
    input_cameras: tuple[str, ...]
    input_transport: str
    input_reliability: str
    input_depth: int
    input_max_rate_hz: float
    input_max_wait: float
    alert_trigger: float
    alert_release: float
    alert_trigger_frames: int
    alert_release_frames: int
    alert_stale_after: float
    snapshot_folder: str
    autostart: bool
    process_tune_malloc: bool

    @classmethod
    def read(cls, get: Callable[[str], Any]) -> Settings:
        """
        Collect the values.

        Parameters
        ----------
        get : callable
            From a parameter's dotted name to its value.

        Returns
        -------
        Settings
            All of them.

        Raises
        ------
        ParameterError
            If a value is outside what the table allows.

        """
        values: dict[str, Any] = {}
        for spec in PARAMETERS:
            value = get(spec.name)
            check_value(spec, value)
            # ROS hands arrays over as lists
            values[spec.name.replace('.', '_')] = (
                tuple(value) if isinstance(spec.default, tuple) else value
            )
        return cls(**values)

    @classmethod
    def defaults(cls, **changes: Value) -> Settings:
        """
        Return the defaults with some changes.

        Parameters
        ----------
        **changes : bool, int, float, str or tuple of str
            Values by field name.

        Returns
        -------
        Settings
            The values.

        Raises
        ------
        ParameterError
            If a name is no parameter or a value is outside what the table allows.

        """
        known = {field.name for field in fields(cls)}
        for name in changes:
            if name not in known:
                msg = f'unknown setting {name!r}; it must be one of {sorted(known)}'
                raise ParameterError(msg)
        return cls.read(
            {
                s.name: changes.get(s.name.replace('.', '_'), s.default) for s in PARAMETERS
            }.__getitem__
        )
