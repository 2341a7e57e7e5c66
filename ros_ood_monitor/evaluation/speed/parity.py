"""How far an engine's answers are from the bundle's goldens, in both of their units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.bundle.goldens import Verification
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import EngineError
from ros_ood_monitor.json_values import finite

__all__ = ['no_parity', 'parity']

_FIGURES: Final = ('raw_score_error', 'tolerance', 'score_error', 'map_error', 'map_tolerance')


def parity(bundle: Bundle, engine: Engine, found: Verification | EngineError) -> dict[str, Any]:
    """
    Return how far an engine is from the goldens of the precision that it runs.

    Parameters
    ----------
    bundle : Bundle
        What it runs.
    engine : Engine
        Ready.
    found : Verification or EngineError
        What `Bundle.verify` found of it, or why it could not answer.

    Returns
    -------
    dict
        Serialisable as JSON: ``engine``, what it says about itself; ``goldens``, their number;
        ``ok``; ``raw_score_error`` and ``tolerance`` of the worst golden, relative to what is
        allowed for it; ``score_error``, the largest of the shares that people see; ``map_error``
        and ``map_tolerance`` of the worst map, None where the goldens have none; ``failure``, why
        there was no answer, or None. What is not finite is None: JSON has no name for it.

    """
    goldens, calibration = bundle.goldens(engine.precision), bundle.calibration(engine.precision)
    facts, count = engine.describe(), len(goldens.raw_score)
    if isinstance(found, EngineError):
        return no_parity(facts, found) | {'goldens': count}
    score_error = max(
        abs(
            calibration.score(float(engine.infer(image[np.newaxis]).require_finite().raw_score[0]))
            - calibration.score(float(wanted))
        )
        for image, wanted in zip(goldens.image, goldens.raw_score, strict=True)
    )
    figures = (
        found.error, found.tolerance, score_error, found.map_error, found.map_tolerance
    )  # fmt: skip
    return {
        'engine': facts,
        'goldens': count,
        'ok': found.ok,
        **dict(zip(_FIGURES, finite(figures), strict=True)),
        'failure': None,
    }


def no_parity(engine: Mapping[str, str], found: EngineError) -> dict[str, Any]:
    """
    Return a row of `parity` for an engine that could not even be asked.

    Parameters
    ----------
    engine : mapping of str to str
        What is known about it.
    found : EngineError
        Why it gave no answer.

    Returns
    -------
    dict
        As `parity` returns it, without the number of goldens.

    """
    figures = dict.fromkeys(_FIGURES)
    return {'engine': dict(engine), 'ok': False, **figures, 'failure': str(found)}
