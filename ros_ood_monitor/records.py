"""The values that travel from camera to alert: frozen, and validated where they are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum
from functools import cached_property
import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import DecodeError, EngineError

__all__ = [
    'LIKE_TRAINING',
    'NO_ANSWER',
    'AlertState',
    'Frame',
    'Health',
    'HealthFault',
    'NetworkInput',
    'Observation',
    'Reading',
    'Region',
    'State',
]

Map = npt.NDArray[np.float32]

LIKE_TRAINING: Final = 'like the training data'
"""What is said of a stream whose frames are normal."""

NO_ANSWER: Final = "the engine's answer is not finite"
"""What is said of a frame for which an engine has no number."""


class State(str, Enum):
    """
    What the alert logic says about the stream.

    ``NORMAL`` in-distribution; ``SUSPECT`` over the trigger threshold, not for long enough;
    ``ALERT`` out-of-distribution for long enough; ``STALE`` no scores arrive; ``FAULT`` the
    monitor itself cannot score.
    """

    NORMAL = 'NORMAL'
    SUSPECT = 'SUSPECT'
    ALERT = 'ALERT'
    STALE = 'STALE'
    FAULT = 'FAULT'


class NetworkInput(NamedTuple):
    """What a network sees (1, h, w, 3), of which picture, and the time to make it, in s."""

    image: npt.NDArray[np.uint8]
    rgb: npt.NDArray[np.uint8]
    seconds: float


@dataclass(frozen=True, eq=False)
class Frame:
    """
    One decoded picture of one camera.

    Parameters
    ----------
    rgb : ndarray of shape (height, width, 3), uint8
        Pixels in RGB order, row major, C-contiguous.
    stamp : float
        Time of the image (its header's stamp), in s.
    camera : str
        Name of the camera; empty where there is only one.
    encoding : str
        How its message spells the pixels' format, such as ``bgr8`` or ``jpeg``; empty where no
        message was.
    network_input : NetworkInput, optional
        What `Preprocessor.ahead` made of ``rgb``; else it is made when the frame is observed.

    Raises
    ------
    DecodeError
        If ``rgb`` is no (height, width, 3) uint8 picture with at least one pixel.

    """

    rgb: npt.NDArray[np.uint8]
    stamp: float = 0.0
    camera: str = ''
    encoding: str = ''
    network_input: NetworkInput | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        rgb = self.rgb
        if not isinstance(rgb, np.ndarray) or rgb.ndim != 3 or rgb.shape[2] != 3:
            got = getattr(rgb, 'shape', type(rgb).__name__)
            msg = f'frame shape mismatch: expected (height, width, 3), got {got}'
            raise DecodeError(msg)
        if rgb.dtype != np.uint8:
            msg = f'frame dtype mismatch: expected uint8, got {rgb.dtype}'
            raise DecodeError(msg)
        if rgb.shape[0] == 0 or rgb.shape[1] == 0:
            msg = (
                f'frame is empty: expected at least 1x1 pixels, got {rgb.shape[1]}x{rgb.shape[0]}'
            )
            raise DecodeError(msg)

    @property
    def height(self) -> int:
        """Rows, in px."""
        return int(self.rgb.shape[0])

    @property
    def width(self) -> int:
        """Columns, in px."""
        return int(self.rgb.shape[1])


@dataclass(frozen=True, eq=False)
class Reading:
    """
    What an engine returns for a batch.

    Parameters
    ----------
    raw_score : ndarray of shape (n,), float64
        Unbounded anomaly score, higher = more anomalous; the unit is in the bundle's manifest. NaN
        where the engine's answer is not finite.
    patch_score : ndarray of shape (n, grid_height, grid_width), float32, or None
        The same per cell of the feature grid, where the bundle has a map.

    Raises
    ------
    EngineError
        If the shapes disagree.

    """

    raw_score: npt.NDArray[np.float64]
    patch_score: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.raw_score.ndim != 1:
            msg = f'raw_score shape mismatch: expected (n,), got {self.raw_score.shape}'
            raise EngineError(msg)
        patches = self.patch_score
        if patches is not None and (
            patches.ndim != 3 or patches.shape[0] != self.raw_score.shape[0]
        ):
            n = self.raw_score.shape[0]
            msg = f'patch_score shape mismatch: expected ({n}, gh, gw), got {patches.shape}'
            raise EngineError(msg)

    def require_finite(self) -> Reading:
        """Return it, or raise EngineError where an answer is not finite."""
        odd = int(np.count_nonzero(~np.isfinite(self.raw_score)))
        if odd:
            msg = f'raw_score is not finite for {odd} of {len(self.raw_score)} inputs'
            raise EngineError(msg)
        return self


@dataclass(frozen=True)
class AlertState:
    """
    State of the alert logic after one frame or one look at the clock.

    Parameters
    ----------
    state : State
        The state now.
    changed : bool
        True where this step left the previous state.
    since : float
        Image stamp (clock time for STALE) at which the state was entered, in s.
    peak : float
        Highest raw_score since the logic last was NORMAL; NaN where it is NORMAL.
    reason : str
        One sentence for people.

    """

    state: State
    changed: bool = False
    since: float = math.nan
    peak: float = math.nan
    reason: str = ''

    def __eq__(self, other: object) -> bool:
        return _key(self) == _key(other) if isinstance(other, AlertState) else NotImplemented

    def __hash__(self) -> int:
        return hash(_key(self))


class Region(NamedTuple):
    """A connected part of a map over the threshold: its box and area in px, and its peak."""

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float

    def __str__(self) -> str:
        """Return box and peak, as messages and tables hold them."""
        return f'{self.left},{self.top},{self.width},{self.height},{self.peak:.4g}'


@dataclass(frozen=True)
class HealthFault:
    """
    One thing that is wrong with a picture or its stream, whatever it shows.

    Parameters
    ----------
    name : str
        The check that it failed; see `health.CHECKS`.
    value : float
        What was found.
    limit : float
        The limit that it is beyond.
    unit : str
        Of both.
    blinds : bool
        Whether nothing can be told about what such a frame shows: it reaches no alert logic.
    text : str
        What it is, for people.

    """

    name: str
    value: float
    limit: float
    unit: str
    blinds: bool
    text: str

    def __str__(self) -> str:
        side = 'at least' if self.value < self.limit else 'at most'
        unit = f' {self.unit}' if self.unit else ''
        return f'{self.text}: expected {side} {self.limit:.4g}{unit}, got {self.value:.4g}'


@dataclass(frozen=True)
class Health:
    """
    Whether a frame is a usable picture.

    Parameters
    ----------
    faults : tuple of HealthFault
        What is beyond its limit in this frame; those that blind come first.
    lasting : tuple of str
        Names of the checks that have failed for some frames in a row, and have not passed for as
        many since.
    is_blind : bool
        Whether one of these blinds.
    values : tuple of (str, float)
        What every check found, as far as it can tell yet.

    """

    faults: tuple[HealthFault, ...] = ()
    lasting: tuple[str, ...] = ()
    is_blind: bool = False
    values: tuple[tuple[str, float], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, nor was lately."""
        return not self.faults and not self.lasting

    @property
    def is_usable(self) -> bool:
        """Whether the frame's score says something about what it shows."""
        return not self.is_blind and not any(fault.blinds for fault in self.faults)

    def __str__(self) -> str:
        names = dict.fromkeys([*(fault.name for fault in self.faults), *self.lasting])
        return ' '.join(names) or 'ok'


@dataclass(frozen=True)
class Observation:
    """
    The monitor's answer to one frame.

    Parameters
    ----------
    stamp : float
        The image's stamp, in s.
    camera : str
        The image's camera.
    raw_score : float
        Unbounded, higher = more anomalous; see the manifest for the unit. NaN where the engine's
        answer is not finite.
    score : float
        Share of held-out in-distribution frames that look more normal, in [0, 1]; NaN with it.
    threshold : float
        The raw_score over which a frame counts toward an alert.
    alert : AlertState
        The alert logic's state after this frame.
    latency_ms : float
        Processing time inside ``Monitor.observe``, and of what was made ahead of it, in ms. Not
        part of equality: it is the one value that differs between a replay and the robot.
    health : Health, optional
        Whether the frame is a usable picture; None where nobody looked.
    image_size : tuple of int, or None
        Height and width of the image, in px.
    heatmap_peak : float or None
        The highest value of the heat-map; None where the bundle has none.
    regions : tuple of Region
        What lies over the heat-map's threshold, in px of the image, the highest peak first: whole
        cells of the grid. At most eight.
    patch_score : ndarray of shape (grid_height, grid_width), float32, or None
        What the engine gave for each cell, in its own unit. Not part of equality.
    project : callable or None
        From ``patch_score`` and a height and width to the heat-map of that size; see `heatmap_at`.

    """

    stamp: float
    camera: str
    raw_score: float
    score: float
    threshold: float
    alert: AlertState
    latency_ms: float = field(default=math.nan, compare=False)
    health: Health | None = None
    image_size: tuple[int, int] | None = None
    heatmap_peak: float | None = None
    regions: tuple[Region, ...] = ()
    patch_score: Map | None = field(default=None, compare=False, repr=False)
    project: Callable[[Map, tuple[int, int]], Map] | None = field(
        default=None, compare=False, repr=False
    )

    def __eq__(self, other: object) -> bool:
        return _key(self) == _key(other) if isinstance(other, Observation) else NotImplemented

    def __hash__(self) -> int:
        return hash(_key(self))

    @property
    def state(self) -> State:
        """Shorthand for ``alert.state``."""
        return self.alert.state

    @property
    def judged_score(self) -> float:
        """Return the score; NaN where the frame is no usable picture, and says nothing."""
        return self.score if self.is_judged else math.nan

    @property
    def is_judged(self) -> bool:
        """Whether the score reached the alert logic: a finite one, of a usable picture."""
        return self.has_answer and (self.health is None or self.health.is_usable)

    @property
    def has_answer(self) -> bool:
        """Whether the engine's answer is finite."""
        return math.isfinite(self.raw_score)

    @property
    def health_text(self) -> str:
        """Return the checks that fail or lately did; ok without, off where none are made."""
        return 'off' if self.health is None else str(self.health)

    @property
    def sentence(self) -> str:
        """Return the alert's reason; of a frame that is normal only as a whole, that it is."""
        reason = self.alert.reason
        if self.state is not State.NORMAL or not self.regions:
            return reason
        count = len(self.regions)
        whole = reason.replace(LIKE_TRAINING, f'{LIKE_TRAINING} as a whole', 1)
        return f"{whole}; {count} region{'' if count == 1 else 's'} over the map's threshold"

    @property
    def regions_text(self) -> str:
        """Return the regions as messages and tables hold them."""
        return '; '.join(map(str, self.regions))

    @cached_property
    def heatmap(self) -> Map | None:
        """
        Return the heat-map in the image's own pixels, made when it is first asked for.

        Returns
        -------
        ndarray of shape (height, width), float32, or None
            0 is what cells of normal frames have in the median, 1 the threshold, without an end at
            either side; NaN where the network has not looked. None where the bundle has no map.

        """
        return None if self.image_size is None else self.heatmap_at(self.image_size)

    def heatmap_at(self, size: tuple[int, int]) -> Map | None:
        """
        Return the heat-map of the whole image at another size.

        Parameters
        ----------
        size : tuple of int
            Height and width, in px; ``patch_score.shape`` gives the cells as they are.

        Returns
        -------
        ndarray of that shape, float32, or None
            As `heatmap`.

        """
        if self.project is None or self.patch_score is None:
            return None
        return self.project(self.patch_score, size)


def _key(record: AlertState | Observation) -> tuple[object, ...]:
    """Return what equality compares: NaN is "none" in these records, and none equals none."""
    # what dataclasses give for NaN depends on the Python
    values = (getattr(record, each.name) for each in fields(record) if each.compare)
    return tuple(None if isinstance(x, float) and math.isnan(x) else x for x in values)
