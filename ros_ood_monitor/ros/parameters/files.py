"""Whether a parameter file speaks of this node at all; ROS ignores in silence what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Any

import yaml

__all__ = ['complaint']

_PARAMETERS = 'ros__parameters'


def complaint(path: Path, node: str) -> str:
    """
    Say that a parameter file holds nothing for a node.

    Parameters
    ----------
    path : Path
        A file that ROS has read.
    node : str
        The node's fully qualified name, such as ``/rover/ood_monitor``.

    Returns
    -------
    str
        A sentence with the keys found; empty where one of them is the node's, and where the file
        cannot be read (ROS then says so).

    """
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ''
    names = list(_node_names(content))
    if any(_matches(name, node) for name in names):
        return ''
    found = ', '.join(repr(name) for name in names) or 'no node name'
    return (
        f"parameter file holds nothing for this node: expected the key '/**' or {node!r}, "
        f'got {found}; its parameters are ignored: {path}'
    )


def _node_names(content: Any, above: str = '') -> Iterator[str]:
    """Yield the names that have parameters; namespaces may stand over them as keys."""
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        name = f'{above}/{key}'.replace('//', '/') if above else str(key)
        if isinstance(value, dict) and _PARAMETERS in value:
            yield name
        else:
            yield from _node_names(value, name)


def _matches(name: str, node: str) -> bool:
    """Tell whether a name, whose ``*`` is one word and ``**`` any number, is the node's."""
    pattern = ''
    for word in name.strip('/').split('/'):
        any_words = word == '**'
        pattern += '(/[^/]+)*' if any_words else '/' + re.escape(word).replace(r'\*', '[^/]*')
    return re.fullmatch(pattern, node) is not None
