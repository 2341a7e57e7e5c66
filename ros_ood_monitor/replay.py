"""A recorded stream through the same monitor: what the robot would have said, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import csv
from itertools import islice
import math
from pathlib import Path
from typing import Any, Final, TYPE_CHECKING

from ros_ood_monitor.atomic import check_output, new_file
from ros_ood_monitor.errors import OodMonitorError, ParameterError
from ros_ood_monitor.packages import import_problem
from ros_ood_monitor.records import Frame, Observation

if TYPE_CHECKING:
    from ros_ood_monitor.monitor import Monitor

__all__ = [
    'COLUMNS',
    'TABLE_SUFFIXES',
    'check_table',
    'replay',
    'write_table',
]

COLUMNS: Final = {
    'stamp': 'float64',
    'camera': 'string',
    'raw_score': 'float64',
    'score': 'float64',
    'threshold': 'float64',
    'state': 'string',
    'changed': 'bool',
    'peak': 'float64',
    'reason': 'string',
    'health': 'string',
    'latency_ms': 'float64',
    'heatmap_peak': 'float64',
    'regions': 'string',
}
"""Columns of the table and their types."""

TABLE_SUFFIXES: Final = ('.parquet', '.csv')
_ROWS_AT_ONCE: Final = 4096


def replay(
    monitor: Monitor | Callable[[str], Monitor], frames: Iterable[Frame]
) -> Iterator[Observation]:
    """
    Score frames in the order in which they come.

    The monitor is the node's, and so are its answers to the same frames: image stamps alone drive
    the alert logic, which takes a gap between them for the silence that it was.

    Parameters
    ----------
    monitor : Monitor, or callable from str to Monitor
        Scores the frames of one camera, from the state it is in. For several cameras a function
        that makes one by camera name, called once for each: an alert belongs to a camera.
    frames : iterable of Frame
        The stream, such as `BagReader.frames` gives.

    Yields
    ------
    Observation
        The answer to the next frame.

    Raises
    ------
    ParameterError
        If one monitor gets the frames of two cameras.
    EngineError
        If a frame cannot be scored.

    """
    monitors: dict[str, Monitor] = {}
    for frame in frames:
        if frame.camera not in monitors:
            if monitors and not callable(monitor):
                both = f'{next(iter(monitors))!r} and {frame.camera!r}'
                msg = f'one monitor watches one camera, got frames of {both}; choose a topic'
                raise ParameterError(msg)
            monitors[frame.camera] = monitor(frame.camera) if callable(monitor) else monitor
        yield monitors[frame.camera].observe(frame)


def write_table(observations: Iterable[Observation], path: Path | str) -> int:
    """
    Write observations as Parquet or CSV, one row a frame, as they come.

    The file is written aside and renamed when it is whole. CSV holds the same numbers to the last
    digit; ``changed`` is ``true`` or ``false``, and what is not there is ``nan``: ``peak`` without
    an alert, ``heatmap_peak`` without a map.

    Parameters
    ----------
    observations : iterable of Observation
        What `replay` gives.
    path : Path or str
        File to make, ``.parquet`` or ``.csv``.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    ParameterError
        If the suffix is another one, the file cannot be written, or pyarrow cannot be imported.

    """
    path = Path(path)
    check_table(path)
    write = _write_csv if path.suffix.lower() == '.csv' else _write_parquet
    with _whole_file(path) as aside:
        return write(observations, aside)


def check_table(path: Path | str) -> None:
    """
    Refuse a table that `write_table` could not write, before anything is computed for it.

    Parameters
    ----------
    path : Path or str
        The file to be.

    Raises
    ------
    ParameterError
        If its suffix is unknown, its place cannot be written, or pyarrow cannot be imported.

    """
    path = check_output(path, TABLE_SUFFIXES)
    if path.suffix.lower() == '.parquet':
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            msg = f'writing Parquet needs {import_problem(error)}, or choose .csv: {path}'
            raise ParameterError(msg) from error


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """Like `new_file`, with failures to write told apart from failures of the stream."""
    try:
        with new_file(path) as aside:
            yield aside
    except OodMonitorError:
        raise  # the stream's; a BagError is an OSError too
    except OSError as error:
        msg = f'cannot write file: {error.strerror or error}; nothing is left of it: {path}'
        raise ParameterError(msg) from error


def _row(observation: Observation) -> tuple[Any, ...]:
    alert, peak = observation.alert, observation.heatmap_peak
    return (
        observation.stamp, observation.camera, observation.raw_score, observation.score,
        observation.threshold, alert.state.value, alert.changed, alert.peak, alert.reason,
        observation.health_text, observation.latency_ms, math.nan if peak is None else peak,
        observation.regions_text,
    )  # fmt: skip


def _write_csv(observations: Iterable[Observation], path: Path) -> int:
    rows = 0
    with path.open('w', newline='', encoding='utf-8') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(COLUMNS)
        for rows, observation in enumerate(observations, start=1):  # noqa: B007
            table.writerow([_text(value) for value in _row(observation)])
    return rows


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, float):
        return 'nan' if math.isnan(value) else repr(float(value))
    return str(value)


def _write_parquet(observations: Iterable[Observation], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet

    types = {'float64': pa.float64(), 'string': pa.string(), 'bool': pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    rows = 0
    source = iter(observations)
    with pyarrow.parquet.ParquetWriter(path, schema) as table:
        while batch := [_row(observation) for observation in islice(source, _ROWS_AT_ONCE)]:
            columns = [
                pa.array(column, kind)
                for column, kind in zip(zip(*batch, strict=True), schema.types, strict=True)
            ]
            table.write_batch(pa.record_batch(columns, schema=schema))
            rows += len(batch)
    return rows
