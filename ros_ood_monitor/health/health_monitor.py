"""The health of one camera's stream: the same frames give the same answers, online or replayed."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.health.checks import CHECKS
from ros_ood_monitor.health.limits import HealthLimits
from ros_ood_monitor.health.measures import (
    grey_of,
    measure,
    MEASURES,
    repeated,
    STILL,
    WATCHED_STEP_S,
)
from ros_ood_monitor.image_time import OUT_OF_ORDER
from ros_ood_monitor.records import Frame, Health, HealthFault

__all__ = ['HealthMonitor']

_STILL_FRAMES: Final = 5  # a slow camera is not frozen after two
_STILL_STEP_S: Final = 1.0 / 30.0  # counted for a frame whose stamp does not advance
_CALM_FRAMES: Final = 100  # in which repeated rows are no news once an intact frame had some
_SMOOTHED_S: Final = 5.0  # of exposure and colour
_RATE_FRAMES: Final = 10
_PAUSE_S: Final = 5.0
_SLOW: Final = ('exposure', 'colour')


class HealthMonitor:
    """
    Checks the frames of one camera.

    Parameters
    ----------
    limits : HealthLimits
        What passes; may be replaced between two frames.
    frames : int, default 3
        Frames in a row that must fail until a fault lasts, and pass until it is over, some of them
        with a margin (`Check.margin`). A fault of the very first frame lasts at once: nothing
        speaks for the camera yet.

    Raises
    ------
    ParameterError
        If ``frames`` is less than 1.

    """

    def __init__(self, limits: HealthLimits, *, frames: int = 3) -> None:
        if frames < 1:
            msg = f'frames of a fault that lasts must be at least 1, got {frames}'
            raise ParameterError(msg)
        self.limits = limits
        self.frames = frames
        self.reset()

    def another(self) -> HealthMonitor:
        """Return the same for another camera, in its first state."""
        return HealthMonitor(self.limits, frames=self.frames)

    def reset(self) -> None:
        """Forget the stream; the next frame is the first one."""
        self._grey: npt.NDArray[np.uint8] | None = None
        self._first: tuple[float, str] | None = None  # proportions and encoding
        self._stamp = math.nan
        self._still_frames, self._still_for = 0, 0.0
        self._calm_until = self._seen = 0
        self._smooth: dict[str, float] = {}
        self._period, self._periods = 0.0, 0  # mean of the latest, and their number
        self._count: dict[str, int] = {}  # frames in a row that differ from what lasts
        self._lasting: dict[str, bool] = {}

    def look(self, image: npt.NDArray[np.uint8], frame: Frame) -> Health:
        """
        Check the next frame.

        Parameters
        ----------
        image : ndarray of shape (h, w, 3), uint8
            Its network input.
        frame : Frame
            The frame as it came.

        Returns
        -------
        Health
            What is wrong with it.

        """
        step = frame.stamp - self._stamp  # NaN at the first frame
        grey = grey_of(image)
        values = dict(zip(MEASURES, map(float, measure(image, grey)), strict=True))
        self._smoothed(values, step)
        self._against_last(grey, step, values)
        self._against_first(frame, values)
        if not math.isnan(step):
            values['stamps'] = step
            self._rate(step, values)
        self._grey, self._stamp = grey, frame.stamp
        self._seen += 1
        limits = self.limits.limits  # read once: they may be exchanged meanwhile
        values = {name: values[name] for name in CHECKS if name in values and name in limits}
        faults = tuple(
            _fault(name, value, limits[name])
            for name, value in values.items()
            if not limits[name][0] <= value <= limits[name][1]
        )
        failed = {fault.name for fault in faults}
        calm = {name for name in values if _is_calm(name, values[name], limits[name])}
        lasting = self._last(values, failed, calm)
        return Health(
            faults=faults,
            lasting=lasting,
            is_blind=any(CHECKS[name].blinds for name in lasting),
            values=tuple(values.items()),
        )

    def _smoothed(self, values: dict[str, float], step: float) -> None:
        for name in _SLOW:
            before = self._smooth.get(name, values[name])
            weight = 1.0 - math.exp(-max(0.0, step) / _SMOOTHED_S) if self._smooth else 1.0
            values[name] = before + weight * (values[name] - before)
        self._smooth = {name: values[name] for name in _SLOW}

    def _against_last(
        self, grey: npt.NDArray[np.uint8], step: float, values: dict[str, float]
    ) -> None:
        changed, old = 1.0, 0.0
        if self._grey is not None and self._grey.shape == grey.shape:
            changed, old, is_calm = repeated(grey, self._grey)
            if is_calm:
                self._calm_until = self._seen + _CALM_FRAMES
        if changed <= STILL:
            self._still_frames += 1
            self._still_for += min(step, WATCHED_STEP_S) if step > 0.0 else _STILL_STEP_S
        else:
            self._still_frames, self._still_for = 0, 0.0
        values['frozen'] = self._still_for if self._still_frames >= _STILL_FRAMES else 0.0
        values['torn'] = old if self._seen >= self._calm_until else 0.0

    def _against_first(self, frame: Frame, values: dict[str, float]) -> None:
        proportions = frame.width / frame.height
        if self._first is None:
            self._first = proportions, frame.encoding
        wanted = [width / height for width, height in self.limits.sizes] or [self._first[0]]
        values['format'] = 100.0 * min(abs(proportions / one - 1.0) for one in wanted)
        values['encoding'] = float(frame.encoding != self._first[1])

    def _rate(self, step: float, values: dict[str, float]) -> None:
        if step >= -OUT_OF_ORDER and step != 0.0:  # steps back and forth belong to one mean
            if self._periods and step > max(_PAUSE_S, 3.0 * self._period):
                self._periods, self._period = 0, 0.0  # a pause says nothing about the rate
                return
            self._periods += 1
            self._period += (step - self._period) / min(self._periods, _RATE_FRAMES)
        if self._periods >= _RATE_FRAMES and self._period > 0.0:
            values['rate'] = 1.0 / self._period

    def _last(self, values: dict[str, float], failed: set[str], calm: set[str]) -> tuple[str, ...]:
        """Step every check's hysteresis; return which faults last."""
        for name in values:
            lasts = self._lasting.get(name, False)
            is_first = name not in self._lasting and self._seen == 1
            self._lasting[name] = lasts
            differs = name in calm if lasts else name in failed
            self._count[name] = self._count.get(name, 0) + 1 if differs else 0
            is_sure = is_first or (CHECKS[name].lasts_at_once and not lasts)
            if differs and (is_sure or self._count[name] >= self.frames):
                self._lasting[name], self._count[name] = not lasts, 0
        for name in [name for name in self._lasting if name not in values]:
            del self._lasting[name]  # not made any more
            self._count.pop(name, None)
        return tuple(name for name in CHECKS if self._lasting.get(name))


def _is_calm(name: str, value: float, limits: tuple[float, float]) -> bool:
    """Return whether a value is so far inside its limits that a fault may end."""
    low, high = limits
    margin = CHECKS[name].margin
    if margin == 0.0 or (math.isinf(low) and math.isinf(high)):
        return low <= value <= high
    if math.isinf(low) or math.isinf(high):
        width = abs(high if math.isinf(low) else low)
    else:
        width = high - low
    return low + margin * width <= value <= high - margin * width


def _fault(name: str, value: float, limits: tuple[float, float]) -> HealthFault:
    check, (low, high) = CHECKS[name], limits
    limit = low if value < low else high
    return HealthFault(name, value, limit, check.unit, check.blinds, check.text)
