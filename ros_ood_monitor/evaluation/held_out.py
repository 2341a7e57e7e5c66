"""Recordings of normal operation as scores: read with the deployed engine, checked, each once."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
import hashlib
from itertools import islice
import logging
import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ros_ood_monitor.bags import BagReader, TopicInfo
from ros_ood_monitor.bags.files import find_files, is_bag
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.bundle.sketch import FrameTally
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import BagError, CalibrationError, DecodeError, ParameterError
from ros_ood_monitor.evaluation.bags.labels import labels_beside, read_labels
from ros_ood_monitor.images import image_files, read_image
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.rate_calibration.score_streams import RATES_DIFFER, ScoreStream
from ros_ood_monitor.recorder.recordings import is_recording
from ros_ood_monitor.records import Frame
from ros_ood_monitor.replay import replay

__all__ = ['HeldOut', 'cameras_of', 'find_held_out', 'hours_by_metadata', 'score_held_out']

_KNOWN: Final = 0.01
"""Share of a recording's frames that may be among those of training, by chance."""

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
    if labels is not None and read_labels(labels):
        msg = (
            'recording shows anomalies: its labels name some, and a rate of false alerts is '
            f'one of normal operation; give other recordings, or cut them out: {labels}'
        )
        raise CalibrationError(msg)


def score_held_out(
    recordings: Iterable[HeldOut],
    bundle: Bundle,
    engine: Engine,
    *,
    topics: Sequence[str] | None = None,
    every: int = 1,
    frame_rate_hz: float | None = None,
) -> list[ScoreStream]:
    """
    Score recordings as the node scores frames.

    Parameters
    ----------
    recordings : iterable of HeldOut
        From `find_held_out`.
    bundle : Bundle
        What is calibrated.
    engine : Engine
        The bundle, opened; it says which precision is scored.
    topics : sequence of str, optional
        Image topics of the bags; by default all of them, see `cameras_of`.
    every : int, default 1
        Take every n-th frame.
    frame_rate_hz : float, optional
        Of image files, which have no stamps.

    Returns
    -------
    list of ScoreStream
        One for each camera of each sequence; the same frames twice are counted once.

    Raises
    ------
    CalibrationError
        If frames are among those of the training, or image files have no frame rate.
    BagError
        If a bag has no frame to read.

    """
    streams: list[ScoreStream] = []
    seen: dict[str, str] = {}
    for recording in recordings:
        known = FrameTally(bundle.trained_frames())
        rows: dict[str, array[float]] = {}  # 16 bytes a frame, hours of them
        monitors, frames = _monitors(bundle, engine, known), 0
        for answer in replay(monitors, _frames(recording, topics, every, frame_rate_hz)):
            frames += 1
            if answer.is_judged:
                pairs = rows.setdefault(answer.camera, array('d'))
                pairs.extend((answer.stamp, answer.raw_score))
        _check_known(recording, known, frames)
        judged = sum(map(len, rows.values())) // 2
        if judged < frames:
            _log.warning(
                '%d of %d frames are no usable pictures and not judged: %s',
                frames - judged, frames, recording.path,
            )  # fmt: skip
        for camera, pairs in rows.items():
            stamp, raw_score = np.array(pairs).reshape(-1, 2).T  # (n,) each
            stream = ScoreStream(recording.name, camera, stamp, raw_score)
            digest = hashlib.sha256(pairs.tobytes()).hexdigest()
            first = seen.setdefault(digest, str(recording.path))
            if first != str(recording.path):
                _log.warning('the same frames as in %s, counted once: %s', first, recording.path)
                continue
            _tell_of_time(stream, recording)
            streams.append(stream)
    return _whole(streams)


def _whole(streams: Sequence[ScoreStream]) -> list[ScoreStream]:
    """Put together what files of one bag hold of a camera."""
    parts: dict[tuple[str, str], list[ScoreStream]] = {}
    for stream in streams:
        parts.setdefault((stream.sequence, stream.camera), []).append(stream)
    whole = []
    for (sequence, camera), some in parts.items():
        some.sort(key=lambda part: float(part.stamp[0]))
        stamp, raw_score = (
            np.concatenate([getattr(part, name) for part in some])
            for name in ('stamp', 'raw_score')
        )
        whole.append(ScoreStream(sequence, camera, stamp, raw_score))
    return whole


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
        As for `score_held_out`.

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
            long = frames / _rate_of_files(recording, frame_rate_hz)
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
    bag.pending(topics)  # refuses what is not there
    same: dict[str, list[TopicInfo]] = {}
    for topic in bag.image_topics:
        if topics is None or topic.name in topics:
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


def _rate_of_files(recording: HeldOut, frame_rate_hz: float | None) -> float:
    if frame_rate_hz is None:
        msg = f'image files have no time; say their frame rate with --rate HZ: {recording.path}'
        raise CalibrationError(msg)
    return frame_rate_hz


def _monitors(bundle: Bundle, engine: Engine, known: FrameTally) -> Callable[[str], Monitor]:
    return lambda camera: Monitor(bundle, engine, on_input=known.add)


def _frames(
    recording: HeldOut, topics: Sequence[str] | None, every: int, frame_rate_hz: float | None
) -> Iterator[Frame]:
    if not recording.files:
        with BagReader(recording.path) as bag:
            yield from bag.frames(cameras_of(bag, topics), every=every)
        return
    frame_rate_hz = _rate_of_files(recording, frame_rate_hz)
    for k, file in enumerate(recording.files):
        if k % every:
            continue
        try:
            yield Frame(read_image(file), stamp=k / frame_rate_hz)
        except DecodeError as error:
            _log.warning('image skipped: %s', error)


def _check_known(recording: HeldOut, known: FrameTally, frames: int) -> None:
    if not frames:
        msg = f'recording has no frame to score: {recording.path}'
        raise BagError(msg)
    if known.known > _KNOWN * frames:
        msg = f'{known}; calibrate on recordings that training did not see: {recording.path}'
        raise CalibrationError(msg)
    if str(known):
        _log.warning('%s: %s', known, recording.path)


def _tell_of_time(stream: ScoreStream, recording: HeldOut) -> None:
    back = int(np.count_nonzero(np.diff(stream.stamp) < 0.0))
    if back:
        _log.warning(
            'stamps run back %d time%s, and the alert logic starts anew at each: %s',
            back, '' if back == 1 else 's', recording.path,
        )  # fmt: skip
    if not stream.hours:
        _log.warning(
            'left out: %d frame%s and no time between them: %s',
            len(stream.stamp), '' if len(stream.stamp) == 1 else 's', recording.path,
        )  # fmt: skip
