"""The values of all parameters at one moment, typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.parameters.spec import check_value, Value
from ros_ood_monitor.ros.parameters.table import PARAMETERS

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
    model_build_if_missing: bool
    input_topics: tuple[str, ...]
    input_cameras: tuple[str, ...]
    input_transport: str
    input_reliability: str
    input_depth: int
    input_max_rate_hz: float
    input_max_wait: float
    input_batch: int
    input_deadline_ms: float
    alert_logic: str
    alert_trigger: float
    alert_release: float
    alert_trigger_frames: int
    alert_release_frames: int
    alert_trigger_seconds: float
    alert_release_seconds: float
    alert_limit: float
    alert_time_constant: float
    alert_reference: float
    alert_stale_after: float
    health_enabled: bool
    health_ignore: tuple[str, ...]
    health_frames: int
    health_black: float
    health_saturated: float
    health_frozen: float
    health_blurred: float
    health_noise: float
    publish_heatmap: str
    publish_heatmap_size: str
    publish_overlay_width: int
    publish_overlay_quality: int
    snapshot_folder: str
    snapshot_max_disk: int
    record_folder: str
    record_before: float
    record_after: float
    record_max_duration: float
    record_max_disk: int
    record_max_memory: int
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
            If a value is outside what the table allows, or two contradict each other.

        """
        values: dict[str, Any] = {}
        for spec in PARAMETERS:
            value = get(spec.name)
            check_value(spec, value)
            # ROS hands arrays over as lists
            values[spec.name.replace('.', '_')] = (
                tuple(value) if isinstance(spec.default, tuple) else value
            )
        settings = cls(**values)
        settings._check_rate()
        settings._check_folders()
        return settings

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
            If a name is no parameter or its value is not allowed.

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

    def by_name(self) -> dict[str, Any]:
        """Return the values by the names that ROS knows, arrays as lists."""
        values = {spec.name: getattr(self, spec.name.replace('.', '_')) for spec in PARAMETERS}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    def _check_folders(self) -> None:
        for name in ('record.folder', 'snapshot.folder', 'model.engine_cache'):
            folder = getattr(self, name.replace('.', '_'))
            try:
                Path(folder).expanduser()
            except RuntimeError as error:
                msg = f'parameter {name!r} must be a path, got {folder!r}: there is no such home'
                raise ParameterError(msg) from error

    def _check_rate(self) -> None:
        # A frame that is let through comes up to a period of the limit and one of the camera after
        # the one before, and the camera's is the shorter where any is left out.
        frames = self.input_max_rate_hz * self.alert_stale_after
        if 0.0 < frames < 1.999:  # figures that the message rounds are taken
            msg = (
                "parameter 'input.max_rate_hz' must be 0 or at least two frames in "
                f"'alert.stale_after' ({self.alert_stale_after:g} s), which is "
                f'{2.0 / self.alert_stale_after:g} Hz, got '
                f'{self.input_max_rate_hz:g}: no alert could be raised between frames so far '
                "apart; set 'alert.stale_after' to at least "
                f'{2.0 / self.input_max_rate_hz:g} s first'
            )
            raise ParameterError(msg)
