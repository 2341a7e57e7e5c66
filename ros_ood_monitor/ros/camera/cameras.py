"""Which cameras the parameters name: what each is called, and the topic of its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import re
from typing import Final

from ros_ood_monitor.camera_names import camera_names
from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['Camera', 'cameras_of', 'find_topic']

COMPRESSED: Final = '/compressed'
"""What image_transport puts behind the name of a topic."""

_NAME: Final = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
_PLACE: Final = re.compile(r', at /.*', re.DOTALL)  # where ROS stumbled, in its own source


@dataclass(frozen=True)
class Camera:
    """
    One camera.

    Parameters
    ----------
    name : str
        Its name in hardware_id and in topics; empty for the only one, where the frame_id of its
        images names it.
    entry : str
        Its topic as ``input.topics`` names it, which is what a remapping is written for.
    topic : str
        The topic of its images: resolved, remapped, of the transport.
    unmapped : str
        The name that ROS remaps to that: what it is asked for.

    """

    name: str
    entry: str
    topic: str
    unmapped: str


def cameras_of(settings: Settings, resolve: Callable[[str], str]) -> tuple[Camera, ...]:
    """
    Return the cameras of ``input.topics`` in their order.

    Parameters
    ----------
    settings : Settings
        Parameters of the node.
    resolve : callable
        From a topic's name to the remapped name with its namespace; raises RuntimeError where it
        is no name.

    Returns
    -------
    tuple of Camera
        At least one. Several have names and topics that differ.

    Raises
    ------
    ParameterError
        If ``input.topics`` and ``input.cameras`` do not say that.

    """
    entries = settings.input_topics
    if not entries or '' in entries:
        msg = f"parameter 'input.topics' must name a topic a camera, got {list(entries)}"
        raise ParameterError(msg)
    compressed = settings.input_transport == 'compressed'
    found = [_resolved(entry, resolve, compressed=compressed) for entry in entries]
    topics = [topic for topic, _ in found]
    for topic in topics:
        if topics.count(topic) > 1:
            msg = (
                f"parameter 'input.topics' must name a topic of its own for every camera, got "
                f'{list(entries)} with {topic} twice'
            )
            raise ParameterError(msg)
    names = _names(settings.input_cameras, entries)
    return tuple(
        Camera(name, entry, *topic)
        for name, entry, topic in zip(names, entries, found, strict=True)
    )


def find_topic(entry: str, resolve: Callable[[str], str], *, compressed: bool) -> tuple[str, str]:
    """
    Return the topic of a camera's images, and what to ask ROS for.

    ROS remaps every name that it is given. A topic that was remapped already must not be given to
    it: it would be remapped again where another rule is for its name.

    Parameters
    ----------
    entry : str
        The camera's base topic, or its whole one.
    resolve : callable
        From a topic's name to the remapped name with its namespace.
    compressed : bool
        Whether image_transport's compressed topic is meant.

    Returns
    -------
    tuple of str
        The topic, resolved and remapped, and the name that ROS remaps to it.

    Raises
    ------
    RuntimeError
        If it is no name.

    """
    topic = resolve(entry)
    if not compressed or entry.endswith(COMPRESSED) or topic.endswith(COMPRESSED):
        return topic, entry
    unmapped = topic + COMPRESSED  # it may be remapped by its whole name
    return resolve(unmapped), unmapped


def _resolved(entry: str, resolve: Callable[[str], str], *, compressed: bool) -> tuple[str, str]:
    try:
        return find_topic(entry, resolve, compressed=compressed)
    except RuntimeError as error:
        reason = _PLACE.sub('', str(error))
        msg = f"parameter 'input.topics' must name topics, got {entry!r}: {reason}"
        raise ParameterError(msg) from error


def _names(given: Sequence[str], entries: Sequence[str]) -> Sequence[str]:
    if not any(given):
        if len(entries) == 1:
            return ('',)
        given, whence = camera_names(entries), "; name them in 'input.cameras'"
    else:
        whence = ''
    if len(given) != len(entries):
        msg = (
            f"parameter 'input.cameras' must hold a name for each of the {len(entries)} topics of "
            f"'input.topics', got {list(given)}"
        )
        raise ParameterError(msg)
    for name in given:
        if not _NAME.fullmatch(name) or given.count(name) > 1:
            msg = (
                'the names of cameras must differ, each of letters, digits and underscores with a '
                f'letter first, got {name!r} in {list(given)}{whence}'
            )
            raise ParameterError(msg)
    return given
