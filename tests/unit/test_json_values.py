"""What JSON has no name for."""

from __future__ import annotations

import json
import math

from ros_ood_monitor.json_values import finite


def test_numbers_that_are_not_finite_are_null_however_deep() -> None:
    given = {
        'a': math.nan,
        2: [1, math.inf, {'b': (-math.inf, 0.5)}],
        'c': 'nan',
        'd': True,
        'e': None,
    }
    wanted = '{"a": null, "2": [1, null, {"b": [null, 0.5]}], "c": "nan", "d": true, "e": null}'
    assert json.dumps(finite(given), allow_nan=False) == wanted
    assert math.isnan(given['a'])  # what was given stays as it is
