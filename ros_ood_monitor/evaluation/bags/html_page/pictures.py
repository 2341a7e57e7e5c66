"""The frames that people want to see: alerts, missed events, those with unlikely scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.errors import BagError, DecodeError
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.images import encode_jpeg
from ros_ood_monitor.maps.colours import CALIBRATED
from ros_ood_monitor.maps.overlay import overlay
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame

__all__ = ['Picture', 'choose_pictures', 'read_pictures']

ALERT: Final = 'alert'
FALSE_ALERT: Final = 'false alert'
MISSED: Final = 'missed event'
FALSE_ALARM: Final = 'normal frame, among the highest scores'
MISS: Final = 'frame of an event, among the lowest scores'

_MOST: Final = {FALSE_ALERT: 12, MISSED: 12, ALERT: 12, FALSE_ALARM: 8, MISS: 8}
_APART_S: Final = 5.0  # two pictures of one moment tell the same
_WIDTH: Final = 480  # px
_MOST_BYTES: Final = 40_000  # of a JPEG
_QUALITIES: Final = (80, 60, 40, 20)


@dataclass(eq=False)
class Picture:
    """
    A frame to show.

    Parameters
    ----------
    bag : JudgedBag
        Where it is.
    row : int
        Its place there.
    why : list of str
        What it is shown as.
    jpeg, heat : bytes
        The picture, and with the heat-map over it; empty where there is none.
    map_peak : float or None
        Highest value of its heat-map, where the threshold is 1; None where there is none.

    """

    bag: JudgedBag
    row: int
    why: list[str] = field(default_factory=list)
    jpeg: bytes = b''
    heat: bytes = b''
    map_peak: float | None = None

    @property
    def camera(self) -> str:
        """Return the name of its camera."""
        scored = self.bag.scored
        return scored.facts.cameras[int(scored.camera[self.row])]

    @property
    def stamp(self) -> float:
        """Return its stamp, in s."""
        return float(self.bag.scored.stamp[self.row])

    @property
    def raw_score(self) -> float:
        """Return its score."""
        return float(self.bag.scored.raw_score[self.row])


def choose_pictures(evaluation: BagEvaluation) -> list[Picture]:
    """
    Choose what to show; no frame twice.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.

    Returns
    -------
    list of Picture
        At most 52, without their pictures yet.

    """
    alerts = [(bag, alert) for bag in evaluation.bags for alert in bag.alerts]
    episodes = {
        why: [(bag, alert) for bag, alert in alerts if alert.is_false == is_false]
        for why, is_false in ((FALSE_ALERT, True), (ALERT, False))
    }
    wanted: dict[str, Iterator[tuple[JudgedBag, int]]] = {
        why: (
            (bag, _highest(bag, one.first, one.last))
            for bag, one in sorted(found, key=lambda pair: -pair[1].episode.peak)
        )
        for why, found in episodes.items()
    }
    wanted[MISSED] = (
        (bag, _highest(bag, event.rows.first, event.rows.last))
        for bag in evaluation.bags
        for event in bag.events
        if event.rows is not None and not (event.found or event.was_on)
    )
    wanted[FALSE_ALARM] = _extremes(evaluation.bags, 0, -1.0)
    wanted[MISS] = _extremes(evaluation.bags, 1, 1.0)
    chosen: dict[tuple[str, int], Picture] = {}
    for why, most in _MOST.items():
        for _, (bag, row) in zip(range(most), wanted[why], strict=False):
            chosen.setdefault((bag.name, row), Picture(bag, row)).why.append(why)
    return list(chosen.values())


def _highest(bag: JudgedBag, first: int, last: int) -> int:
    """Return the frame with the highest score between two of one camera."""
    rows = slice(first, last + 1)
    camera, score = bag.scored.camera[rows], bag.scored.raw_score[rows]
    counts = (camera == camera[0]) & np.isfinite(score)
    return first + int(np.where(counts, score, -np.inf).argmax())


def _extremes(
    bags: Iterable[JudgedBag], label: int, sign: float
) -> Iterator[tuple[JudgedBag, int]]:
    """Yield frames of a class with the highest (-1) or lowest (1) scores, some seconds apart."""
    most = _MOST[FALSE_ALARM]
    found: list[tuple[float, JudgedBag, int]] = []
    for bag in bags:
        scored = bag.scored
        rows = np.flatnonzero(bag.judged_label == label)
        left = np.ones(rows.size, np.bool_)
        ranked = sign * scored.raw_score[rows]
        for _ in range(most):
            if not left.any():
                break
            place = int(np.where(left, ranked, np.inf).argmin())
            row = int(rows[place])
            found.append((float(ranked[place]), bag, row))
            is_near = np.abs(scored.stamp[rows] - scored.stamp[row]) < _APART_S
            left &= ~(is_near & (scored.camera[rows] == scored.camera[row]))
    for _, bag, row in sorted(found, key=lambda one: one[0]):
        yield bag, row


def read_pictures(evaluation: BagEvaluation, pictures: Iterable[Picture]) -> list[str]:
    """
    Read the chosen frames from their bags again, and make their heat-maps where there are maps.

    Every bag is read once up to the last of its frames; only these are decoded.

    Parameters
    ----------
    evaluation : BagEvaluation
        What `evaluate_bags` found.
    pictures : iterable of Picture
        The frames; their ``jpeg``, ``heat`` and ``map_peak`` are filled in.

    Returns
    -------
    list of str
        What could not be read.

    """
    by_bag: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_bag.setdefault(picture.bag.name, []).append(picture)
    if not by_bag:
        return []
    bundle, engine = evaluation.scoring.open()
    try:
        monitor = Monitor(bundle, engine)
        has_map = evaluation.calibration.map is not None
        problems = []
        for name, mine in by_bag.items():
            try:
                _read(mine, monitor if has_map else None)
            except (BagError, OSError) as error:
                problems.append(f'pictures of {name} could not be read again: {error}')
        return problems
    finally:
        engine.close()


def _read(pictures: list[Picture], monitor: Monitor | None) -> None:
    bag, scored = pictures[0].bag, pictures[0].bag.scored
    topics = scored.facts.topics
    wanted = {
        (topics[scored.camera[picture.row]], float(scored.log_time[picture.row])): picture
        for picture in pictures
    }
    with BagReader(bag.path) as reader:
        for pending in reader.pending(list(topics)):
            picture = wanted.get((pending.topic, pending.log_time))
            if picture is None or picture.jpeg:
                continue
            try:
                frame = pending.decode()
            except (DecodeError, BagError):
                continue  # not the frame that was scored: another one of the same log time
            _draw(picture, frame, monitor)
            if all(one.jpeg for one in pictures):
                break


def _draw(picture: Picture, frame: Frame, monitor: Monitor | None) -> None:
    scale = min(1.0, _WIDTH / frame.width)
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    rgb = np.asarray(cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    picture.jpeg = _jpeg(rgb)
    if monitor is None:
        return
    seen = monitor.observe(frame)
    heat = seen.heatmap_at((size[1], size[0]))
    if heat is not None:
        picture.heat, picture.map_peak = _jpeg(overlay(rgb, heat, CALIBRATED)), seen.heatmap_peak


def _jpeg(rgb: npt.NDArray[np.uint8]) -> bytes:
    for quality in _QUALITIES:
        content = encode_jpeg(rgb, quality)
        if len(content) <= _MOST_BYTES:
            break
    return content
