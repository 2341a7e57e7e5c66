"""Every frame of an evaluation as a row of a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ros_ood_monitor.atomic import check_output, new_file
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.evaluation.bags.evaluate import BagEvaluation
from ros_ood_monitor.evaluation.bags.judged import JudgedBag
from ros_ood_monitor.evaluation.bags.scored import STATES
from ros_ood_monitor.replay import check_table

__all__ = ['FRAME_COLUMNS', 'check_frames', 'write_frames']

FRAME_COLUMNS: Final = (
    'bundle', 'bag', 'camera', 'stamp', 'log_time', 'raw_score', 'score', 'state', 'judged',
    'label', 'kind',
)  # fmt: skip
"""Columns; ``bundle`` is name@digest, ``judged`` false where a frame was no usable picture,
``label`` 1, 0, or null within the margin, ``kind`` joins several with a comma."""


def check_frames(path: Path | str) -> None:
    """
    Refuse a file that `write_frames` could not write, before anything is computed for it.

    Parameters
    ----------
    path : Path or str
        The file to be.

    Raises
    ------
    ParameterError
        If it does not end in .parquet, is a folder, or pyarrow cannot be imported.

    """
    check_output(path, ('.parquet',))
    check_table(path)


def write_frames(path: Path | str, evaluations: Sequence[BagEvaluation]) -> None:
    """
    Write the frames of some evaluations, bag by bag.

    Parameters
    ----------
    path : Path or str
        File to make, ``.parquet``.
    evaluations : sequence of BagEvaluation
        What was found.

    Raises
    ------
    ParameterError
        If it cannot be written.

    """
    import pyarrow as pa
    import pyarrow.parquet

    text = pa.dictionary(pa.int32(), pa.string())
    types = {name: pa.float64() for name in ('stamp', 'log_time', 'raw_score', 'score')}
    types |= {'judged': pa.bool_(), 'label': pa.int8()}
    schema = pa.schema([(name, types.get(name, text)) for name in FRAME_COLUMNS])
    try:
        with new_file(Path(path)) as aside, pyarrow.parquet.ParquetWriter(aside, schema) as file:
            for evaluation in evaluations:
                for bag in evaluation.bags:
                    columns = _columns(evaluation, bag, pa)
                    file.write_table(pa.table(columns, schema=schema))
    except OSError as error:
        msg = f'frames could not be written ({error.strerror or error}): {path}'
        raise ParameterError(msg) from error


def _columns(evaluation: BagEvaluation, bag: JudgedBag, pa: Any) -> dict[str, Any]:
    scored = bag.scored
    bundle = f'{evaluation.bundle.manifest.name}@{evaluation.bundle.digest[:12]}'
    n = len(scored)

    def named(place: Any, names: Sequence[str]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(place, pa.int32()), pa.array(names))

    return {
        'bundle': named(np.zeros(n, np.int32), [bundle]),
        'bag': named(np.zeros(n, np.int32), [bag.name]),
        'camera': named(scored.camera.astype(np.int32), scored.facts.cameras),
        'stamp': scored.stamp,
        'log_time': scored.log_time,
        'raw_score': scored.raw_score,
        'score': evaluation.calibration.score(scored.raw_score),
        'state': named(scored.state.astype(np.int32), [state.value for state in STATES]),
        'judged': scored.judged,
        'label': pa.array(bag.label, mask=bag.label < 0),
        'kind': named(*_kinds(bag)),
    }


def _kinds(bag: JudgedBag) -> tuple[Any, list[str]]:
    """Return each frame's place among the combinations of kinds, and their names."""
    place, names = np.zeros(len(bag.scored), np.int64), ['']
    for kind, mask in bag.kinds.items():
        unique, place = np.unique(2 * place + mask, return_inverse=True)
        names = [
            ','.join(filter(None, (names[code // 2], kind * (code % 2))))
            for code in unique.tolist()
        ]
    return place.astype(np.int32), names
