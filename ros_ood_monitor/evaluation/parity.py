"""How far an engine's answers are from the bundle's goldens, in both of their units."""

from __future__ import annotations

from typing import Any

import numpy as np

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine

__all__ = ['parity']


def parity(bundle: Bundle, engine: Engine) -> dict[str, Any]:
    """
    Compare an engine with the goldens of the precision that it runs.

    Parameters
    ----------
    bundle : Bundle
        What it runs.
    engine : Engine
        Ready.

    Returns
    -------
    dict
        Serialisable as JSON: ``engine``, what it says about itself; ``goldens``, their number;
        ``ok``; ``raw_score_error`` and ``tolerance`` of the worst golden, relative to what is
        allowed for it; ``score_error``, the largest of the shares that people see.

    """
    verification = bundle.verify(engine, engine.precision)
    goldens, calibration = bundle.goldens(engine.precision), bundle.calibration(engine.precision)
    return {
        'engine': engine.describe(),
        'goldens': verification.count,
        'ok': verification.ok,
        'raw_score_error': verification.max_error,
        'tolerance': verification.tolerance,
        'score_error': max(
            abs(
                calibration.score(float(engine.infer(image[np.newaxis]).raw_score[0]))
                - calibration.score(float(wanted))
            )
            for image, wanted in zip(goldens.image, goldens.raw_score, strict=True)
        ),
    }
