"""Recordings of normal operation: which there are, each once, and how long they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
import logging
import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ros_ood_monitor.bags import BagReader, TopicInfo
from ros_ood_monitor.bags.files import find_files, is_bag
from ros_ood_monitor.errors import BagError, CalibrationError, ParameterError
from ros_ood_monitor.evaluation.bags.labels import bag_name, labels_beside, read_labels
from ros_ood_monitor.images import image_files
from ros_ood_monitor.rate_calibration.score_streams import RATES_DIFFER, ScoreStream
from ros_ood_monitor.recorder.recordings import is_recording

__all__ = ['HeldOut', 'cameras_of', 'find_held_out', 'hours_by_metadata', 'rate_of_files']

_LOOKED_AT: Final = 200
"""Frames of a bag that tell its frame rate."""

_log = logging.getLogger(__name__)


class HeldOut(NamedTuple):
    """
    A bag, a file of one, or the image files of one folder in natural order.

    ``name`` is that of its sequence: files of one bag share it, and nothing else does.
    """

    name: str
    path: Path
    files: tuple[Path, ...] = ()


def find_held_out(paths: Sequence[Path | str]) -> list[HeldOut]:
    """
    List sequences; a path that was given before is left out, with a warning.

    Parameters
    ----------
    paths : sequence of Path or str
        Bags, and folders of image files: each folder that holds some is a sequence.

    Returns
    -------
    list of HeldOut
        In the order of the paths.

    Raises
    ------
    ParameterError
        If a path is neither, or a recording's labels are wrong.
    CalibrationError
        If a recording's labels name anomalies, or an alert is why it was made.

    """
    found: dict[Path, HeldOut] = {}
    for path in map(Path, paths):
        for recording in _below(path):
            place = recording.path.resolve()
            if place in found:
                _log.warning('given more than once and used once: %s', recording.path)
                continue
            _refuse_selected(recording.path)
            found[place] = recording
    sequences = {place: _bag_of(place) for place in found}
    for place, bag in sequences.items():
        if bag != place and bag in found:
            _log.warning('part of a bag that is given, too, and used once: %s', place)
            del found[place]
    names = _names({sequences[place]: recording.name for place, recording in found.items()})
    return [one._replace(name=names[sequences[place]]) for place, one in found.items()]


def _bag_of(place: Path) -> Path:
    """Return the folder of the bag that a file is a part of; else the place itself."""
    folder = place.parent
    if not (place.is_file() and (folder / 'metadata.yaml').is_file() and is_bag(folder)):
        return place
    try:
        files, _ = find_files(folder)
    except BagError:  # its metadata cannot be read: what belongs together is not known
        return place
    return folder if place in files else place


def _names(given: dict[Path, str]) -> dict[Path, str]:
    """Return names by place that differ: where some are the same, what their paths differ in."""
    # of several files of one bag, it is the bag's name that counts
    given = {place: place.name if place.is_dir() and '/' not in name else name
             for place, name in given.items()}  # fmt: skip
    names = {}
    for place, name in given.items():
        alike = [other for other in given if given[other] == name]
        if len(alike) > 1:
            common = Path(os.path.commonpath(alike))
            name = place.as_posix() if place == common else place.relative_to(common).as_posix()
        names[place] = name
    return names


def _below(path: Path) -> list[HeldOut]:
    if path.is_file() or is_bag(path):
        return [HeldOut(path.name, path)]
    if not path.exists():
        msg = f'recording not found: expected a bag or a folder of images, got nothing: {path}'
        raise ParameterError(msg)
    folders: dict[Path, list[Path]] = {}
    for file in image_files(path):
        folders.setdefault(file.parent, []).append(file)
    return [
        HeldOut((path.name / folder.relative_to(path)).as_posix(), folder, tuple(files))
        for folder, files in folders.items()
    ]


def _refuse_selected(path: Path) -> None:
    """Refuse what is not a stretch of normal operation as it comes."""
    if is_recording(path):
        msg = (
            'recording was made because of an alert: hours chosen by their alerts tell nothing of '
            f'how often one comes; give recordings that were made anyway: {path}'
        )
        raise CalibrationError(msg)
    labels = labels_beside(path)
    if labels is None:
        return
    # in the bag's own folder they are its own, by whatever name of it or of one of its files
    is_own = labels.parent == _bag_of(path.resolve())
    if any(is_own or label.bag in ('', bag_name(path)) for label in read_labels(labels)):
        msg = (
            'recording shows anomalies: its labels name some, and a rate of false alerts is '
            f'one of normal operation; give other recordings, or cut them out: {labels}'
        )
        raise CalibrationError(msg)


def hours_by_metadata(
    recordings: Iterable[HeldOut],
    *,
    topics: Sequence[str] | None = None,
    every: int = 1,
    frame_rate_hz: float | None = None,
) -> tuple[list[ScoreStream], int]:
    """
    Look up how long recordings are, before hours of scoring: without a picture being decoded.

    Frame rates that seem to differ are warned of.

    Parameters
    ----------
    recordings, topics, every, frame_rate_hz
        Which frames; see `score_held_out`.

    Returns
    -------
    streams : list of ScoreStream
        One for each sequence, without scores: at most so long can it be watched.
    frames : int
        To be scored.

    Raises
    ------
    CalibrationError
        If image files have no frame rate.
    BagError, ParameterError
        If a bag or topic is not there.

    """
    seconds: dict[str, float] = {}
    rates: dict[str, float] = {}
    total = 0
    for recording in recordings:
        if recording.files:
            frames = len(recording.files)
            long = frames / rate_of_files(recording, frame_rate_hz)
        else:
            with BagReader(recording.path) as bag:
                chosen = cameras_of(bag, topics)
                times = [one.log_time for one in islice(bag.pending(chosen[:1]), _LOOKED_AT)]
                frames = sum(one.count for one in bag.image_topics if one.name in chosen)
                long = bag.duration
            if len(times) > 1:
                rates[recording.name] = 1.0 / max(float(np.median(np.diff(times))), 1e-6)
        seconds[recording.name] = seconds.get(recording.name, 0.0) + long
        total += -(-frames // every)
    middle = float(np.median(list(rates.values()))) if rates else 0.0
    for name, rate in rates.items():
        if abs(rate - middle) > RATES_DIFFER * middle:
            _log.warning(
                'frame rates seem to differ, about %.3g Hz and here %.3g Hz, which is refused in '
                'the end if it is so: %s',
                middle, rate, name,
            )  # fmt: skip
    streams = []
    for name, long in seconds.items():
        stamp = np.arange(0.0, long + 1.0)  # (n,), once a second: all of it may be watched
        streams.append(ScoreStream(name, '', stamp, np.zeros(len(stamp))))
    return streams, total


def cameras_of(bag: BagReader, topics: Sequence[str] | None = None) -> list[str]:
    """
    Choose the image topics of a bag to read, one for each camera.

    Parameters
    ----------
    bag : BagReader
        The bag.
    topics : sequence of str, optional
        Those asked for; all of them by default.

    Returns
    -------
    list of str
        Of ``X`` and ``X/compressed``, which show the same frames, the one with more; ``X`` where
        they have as many.

    Raises
    ------
    BagError
        If the bag has no image topic.
    ParameterError
        If a topic is not an image topic of this bag.

    """
    same: dict[str, list[TopicInfo]] = {}
    for topic in bag.choose(topics):
        same.setdefault(topic.name.removesuffix('/compressed'), []).append(topic)
    chosen = []
    for some in same.values():
        first = max(sorted(some, key=lambda one: len(one.name)), key=lambda one: one.count)
        for other in some:
            if other is not first:
                _log.warning(
                    '%s is the same camera as %s and left out: %s',
                    other.name, first.name, bag.path,
                )  # fmt: skip
        chosen.append(first.name)
    return chosen


def rate_of_files(recording: HeldOut, frame_rate_hz: float | None) -> float:
    """
    Return the frame rate of image files, which have no stamps.

    Parameters
    ----------
    recording : HeldOut
        A folder of them.
    frame_rate_hz : float or None
        What is known of it.

    Returns
    -------
    float
        In Hz.

    Raises
    ------
    CalibrationError
        If nothing is.

    """
    if frame_rate_hz is None:
        msg = f'image files have no time; say their frame rate with --rate HZ: {recording.path}'
        raise CalibrationError(msg)
    return frame_rate_hz
