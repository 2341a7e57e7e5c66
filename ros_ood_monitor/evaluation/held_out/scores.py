"""Recordings of normal operation as scores: by the deployed engine, checked, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
import hashlib
import logging
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ros_ood_monitor.bags import BagReader
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import CalibrationError, DecodeError
from ros_ood_monitor.evaluation.bags.scored import FAULT, ScoredBag
from ros_ood_monitor.evaluation.bags.scoring import score_bag, score_frames
from ros_ood_monitor.evaluation.bags.store import ScoreStore
from ros_ood_monitor.evaluation.held_out.recordings import cameras_of, HeldOut, rate_of_files
from ros_ood_monitor.images import read_image
from ros_ood_monitor.rate_calibration.score_streams import ScoreStream
from ros_ood_monitor.records import Frame

__all__ = ['HeldOutScores', 'score_held_out']

_KNOWN: Final = 0.01
"""Share of a recording's frames that may be among those of training, by chance."""

_log = logging.getLogger(__name__)


class HeldOutScores(NamedTuple):
    """The streams of recordings, and how many of these were scored in an earlier run."""

    streams: list[ScoreStream]
    kept: int


def score_held_out(
    recordings: Iterable[HeldOut],
    bundle: Bundle,
    engine: Engine,
    *,
    topics: Sequence[str] | None = None,
    every: int = 1,
    frame_rate_hz: float | None = None,
    store: Path | None = None,
) -> HeldOutScores:
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
    store : Path, optional
        Folder in which the scores of bags are kept and found, those of an evaluation included;
        None keeps nothing.

    Returns
    -------
    HeldOutScores
        A stream for each camera of each sequence; the same frames twice are counted once.

    Raises
    ------
    CalibrationError
        If frames are among those of the training, or image files have no frame rate.
    BagError
        If a bag has no frame to read.
    ParameterError
        If a topic is not there, or scores cannot be kept.

    """
    streams: list[ScoreStream] = []
    seen: dict[str, Path] = {}
    kept = 0
    stores: dict[tuple[str, ...], ScoreStore] = {}  # one for each choice of topics

    def store_of(read: Sequence[str] | None) -> ScoreStore:
        if tuple(read or ()) not in stores:
            stores[tuple(read or ())] = ScoreStore.of_engine(
                store, bundle, engine, topics=read, every=every
            )
        return stores[tuple(read or ())]

    for recording in recordings:
        if recording.files:
            frames = _frames(recording, every, frame_rate_hz)
            scored = score_frames(frames, bundle, engine, path=recording.path)
        else:
            scored, was_kept = _score_bag(recording.path, bundle, engine, topics, every, store_of)
            kept += was_kept
        _check(recording, scored)
        for stream in _streams(recording, scored):
            both = np.stack([stream.stamp, stream.raw_score])  # (2, n)
            first = seen.setdefault(hashlib.sha256(both.tobytes()).hexdigest(), recording.path)
            if first != recording.path:
                _log.warning('the same frames as in %s, counted once: %s', first, recording.path)
                continue
            _tell_of_time(stream, recording)
            streams.append(stream)
    return HeldOutScores(_whole(streams), kept)


def _score_bag(
    path: Path,
    bundle: Bundle,
    engine: Engine,
    topics: Sequence[str] | None,
    every: int,
    store_of: Callable[[Sequence[str] | None], ScoreStore],
) -> tuple[ScoredBag, bool]:
    """Return the scores of a bag, and whether they were there."""
    with BagReader(path) as bag:
        chosen = cameras_of(bag, topics)
        cameras = {topic.name for topic in bag.image_topics} - set(bag.depth_topics)
    # the names by which an evaluation keeps the scores, too
    read = None if set(chosen) == cameras else chosen
    kept = store_of(read)
    key = kept.key(path)
    found = kept.load(key)
    if found is not None:
        return found, True
    scored = score_bag(path, bundle, engine, topics=read, every=every, workers=1)
    kept.save(key, scored)
    return scored, False


def _streams(recording: HeldOut, scored: ScoredBag) -> Iterator[ScoreStream]:
    for place, camera in enumerate(scored.facts.cameras):
        rows = scored.rows_of(place)  # (n,)
        judged = scored.judged[rows]
        faults = np.cumsum(~judged & (scored.state[rows] == FAULT))[judged]  # (k,)
        if not faults.size:
            continue
        rows = rows[judged]
        yield ScoreStream(
            recording.name,
            camera,
            scored.stamp[rows],
            scored.raw_score[rows],
            after_fault=np.diff(faults, prepend=0) > 0,
        )


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
        after_fault = np.concatenate([part.after_fault for part in some])  # (n,)
        whole.append(ScoreStream(sequence, camera, stamp, raw_score, after_fault))
    return whole


def _frames(
    recording: HeldOut, every: int, frame_rate_hz: float | None
) -> Iterator[tuple[float, Frame]]:
    frame_rate_hz = rate_of_files(recording, frame_rate_hz)
    for k, file in enumerate(recording.files):
        if k % every:
            continue
        try:
            frame = Frame(read_image(file), stamp=k / frame_rate_hz)
        except DecodeError as error:
            _log.warning('image skipped: %s', error)
        else:
            yield frame.stamp, frame


def _check(recording: HeldOut, scored: ScoredBag) -> None:
    facts = scored.facts
    if facts.known:
        told = facts.problems[-1]
        if facts.known > _KNOWN * len(scored):
            msg = f'{told}; calibrate on recordings that training did not see: {recording.path}'
            raise CalibrationError(msg)
        _log.warning('%s: %s', told, recording.path)
    unjudged = int(np.count_nonzero(~scored.judged))
    if unjudged:
        _log.warning(
            '%d of %d frames are no usable pictures and not judged, or got no finite score: %s',
            unjudged, len(scored), recording.path,
        )  # fmt: skip


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
