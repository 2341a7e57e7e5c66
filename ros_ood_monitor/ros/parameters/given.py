"""Parameters as people give them: names that are none, values of another type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import difflib

from ros_ood_monitor.ros.parameters.spec import Value
from ros_ood_monitor.ros.parameters.table import PARAMETERS

__all__ = ['unknown_names', 'widen']


def unknown_names(names: Iterable[str], *, known: Iterable[str] = ()) -> dict[str, str]:
    """
    Return names that are no parameter, with the parameter that was probably meant.

    Parameters
    ----------
    names : iterable of str
        Names from a file or a command line.
    known : iterable of str
        Further names to accept, such as those every ROS node has.

    Returns
    -------
    dict of str to str
        From the unknown name to the nearest known one; empty where none is near.

    """
    table = [spec.name for spec in PARAMETERS]
    accepted = {*table, *known}
    found: dict[str, str] = {}
    for name in sorted(set(names) - accepted):
        near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
        # 'threads' for 'model.threads': the last part alone tells what was meant
        last = [key for key in table if key.rsplit('.', 1)[-1] == name.rsplit('.', 1)[-1]]
        found[name] = (last or near or [''])[0]
    return found


def widen(overrides: Mapping[str, object]) -> dict[str, Value]:
    """
    Return the values that mean another type than they were written as.

    ROS refuses ``alert.trigger: 5`` for a double and ``input.topics: image`` for an array of
    strings; ``[]`` has no type for it and unsets the parameter. People write them anyway and mean
    5.0, one topic, and none, which is ``['']`` where an array cannot be empty.

    Parameters
    ----------
    overrides : mapping of str to object
        Values from a file or a command line, by name; None for ``[]``.

    Returns
    -------
    dict of str to float or tuple of str
        Only those to replace.

    """
    defaults = {spec.name: spec.default for spec in PARAMETERS}
    found: dict[str, Value] = {}
    for name, value in overrides.items():
        default = defaults.get(name)
        if isinstance(default, float) and type(value) is int:
            found[name] = float(value)
        elif isinstance(default, tuple) and (value is None or isinstance(value, str)):
            found[name] = (value or '',)
    return found
