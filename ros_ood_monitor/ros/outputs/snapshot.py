"""
The service ``~/snapshot``: what the node sees now, as files.

A stream hands its last message and answer over by reference. Decoding, encoding and writing happen
on request, in a thread of their own, so that neither scoring nor the executor waits for a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import datetime as dt
import os
from pathlib import Path
import re
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger
import yaml

from ros_ood_monitor.atomic import new_folder
from ros_ood_monitor.errors import OodMonitorError
from ros_ood_monitor.maps.overlay import annotated
from ros_ood_monitor.recorder import make_room, plain_name, size_of
from ros_ood_monitor.records import Frame, Observation
from ros_ood_monitor.ros.messages.converters import frame_from_compressed, frame_from_image
from ros_ood_monitor.ros.parameters.settings import Settings
from ros_ood_monitor.ros.process.worker import Worker

__all__ = ['Snapshots', 'snapshot_folder']

_SUFFIXES: Final = {b'\xff\xd8': '.jpg', b'\x89P': '.png'}
"""First bytes of the files that a CompressedImage may hold."""

_Scored = tuple[Any, Observation, Settings]


class Snapshots:
    """
    Keeps the last scored frame of every camera, and writes them when a peer asks.

    One folder a request, there whole or not at all: the pictures, with their heat-maps where the
    bundle has a map, and ``snapshot.yaml`` with what the monitor said about them, by which bundle
    and with which parameters. One request at a time;
    another one is refused meanwhile.

    Parameters
    ----------
    node : rclpy.node.Node
        The node that serves.
    about : callable
        What to write beside the cameras, such as the bundle: plain values by name.
    settings : callable
        The node's parameters as they are now; ``snapshot.folder`` is where to write.

    """

    def __init__(
        self,
        node: Node,
        *,
        about: Callable[[], Mapping[str, Any]],
        settings: Callable[[], Settings],
    ) -> None:
        self._node = node
        self._decode: Callable[[Any], Frame] = frame_from_image
        self._about = about
        self._settings = settings
        self._last: dict[str, _Scored] = {}
        self._worker = Worker(node, 'snapshot')
        # an awaited callback holds a group of one at a time, which get_state would wait for
        node.create_service(
            Trigger, '~/snapshot', self._serve, callback_group=ReentrantCallbackGroup()
        )

    def keep(self, key: str, message: Any, observation: Observation) -> None:
        """
        Take a camera's last frame; from the thread that scores it.

        Parameters
        ----------
        key : str
            Which camera of the node.
        message : sensor_msgs.msg.Image or CompressedImage
            The message as it came; nobody may write to it any more.
        observation : Observation
            The answer to it.

        """
        # parameters may change before anybody asks: these judged this frame
        self._last[key] = (message, observation, self._settings())

    def forget(self) -> None:
        """Start anew: earlier frames are not what the node sees now."""
        self._last = {}

    def close(self, timeout: float) -> bool:
        """
        Take no more requests, and wait for the one that is served.

        Parameters
        ----------
        timeout : float
            Longest wait, in s.

        Returns
        -------
        bool
            False where the disk has not come back.

        """
        return self._worker.close(timeout)

    async def _serve(self, request: Any, response: Any) -> Any:
        try:
            last = dict(self._last)
            if not last:
                msg = (
                    'no frame has been scored since activation: is the node active, the camera on?'
                )
                raise RuntimeError(msg)
            if self._worker.is_busy:
                msg = 'another snapshot is being written; ask again after it'
                raise RuntimeError(msg)
            folder = snapshot_folder(self._settings().snapshot_folder)
            about = {'node': self._node.get_fully_qualified_name(), **self._about()}
            most = self._settings().snapshot_max_disk * 2**20
            path = await self._worker.run(lambda: self._write(folder, about, last, most))
        except Exception as error:  # noqa: BLE001, whatever it is, the peer gets its answer
            response.success, response.message = False, f'no snapshot: {_said(error)}'
            return response
        response.success, response.message = True, str(path)
        return response

    def _write(
        self, folder: Path, about: dict[str, Any], last: dict[str, _Scored], most: int
    ) -> Path:
        now = dt.datetime.now(dt.timezone.utc)
        name = plain_name(about['node'])
        path = _free(folder / f'{name}_{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z')
        try:
            with new_folder(path) as aside:
                cameras: list[dict[str, Any]] = []
                for key, (message, observation, settings) in last.items():
                    stem = _unused(_plain(key or observation.camera), cameras)
                    content, suffix = self._picture(message)
                    (aside / f'{stem}{suffix}').write_bytes(content)
                    facts = {'image': f'{stem}{suffix}', **_facts(message, observation)}
                    facts |= self._write_map(aside, stem, message, observation)
                    facts['parameters'] = settings.by_name()
                    cameras.append(facts)
                facts = {'time': now.isoformat(), **about, 'cameras': cameras}
                text = yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)
                (aside / 'snapshot.yaml').write_text(text, encoding='utf-8')
        except OSError as error:
            msg = (
                f'cannot be written ({error.strerror or error}); set snapshot.folder to a folder '
                f'that the node may make and fill, or mend this one: {folder}'
            )
            raise OSError(msg) from error
        if most:
            make_room(
                folder,
                max(0, most - size_of(path)),
                is_ours=lambda old: old != path and _is_snapshot_of(about['node'], old),
            )
        return path

    def _picture(self, message: Any) -> tuple[bytes, str]:
        if isinstance(message, CompressedImage):
            content = bytes(message.data)
            return content, _SUFFIXES.get(content[:2], '.bin')
        rgb = self._decode(message).rgb  # (H, W, 3)
        return _png(rgb), '.png'

    def _write_map(
        self, folder: Path, stem: str, message: Any, observation: Observation
    ) -> dict[str, Any]:
        """Write where the picture is strange; nothing for a bundle without a map."""
        heat = observation.heatmap  # (H, W)
        if heat is None:
            return {}
        decode = frame_from_compressed if isinstance(message, CompressedImage) else self._decode
        # with two dots, as no name of a camera among several has them
        files = {'heatmap': f'{stem}.heatmap.npy', 'overlay': f'{stem}.overlay.png'}
        np.save(folder / files['heatmap'], heat)
        overlay = annotated(decode(message).rgb, observation)
        (folder / files['overlay']).write_bytes(_png(overlay))
        regions = [
            {'box': list(region[:4]), 'area': region.area, 'peak': region.peak}
            for region in observation.regions
        ]
        return {**files, 'heatmap_peak': observation.heatmap_peak, 'regions': regions}


def snapshot_folder(given: str) -> Path:
    """
    Return where snapshots go.

    Parameters
    ----------
    given : str
        The parameter; empty takes ``ood_monitor`` in ROS's home, which is ``$ROS_HOME`` or
        ``~/.ros``.

    Returns
    -------
    Path
        An absolute folder, which need not exist.

    Raises
    ------
    RuntimeError
        If there is no home.

    """
    if given:
        return Path(given).expanduser().absolute()
    home = os.environ.get('ROS_HOME') or '~/.ros'
    return Path(home).expanduser().absolute() / 'ood_monitor'


def _png(rgb: npt.NDArray[np.uint8]) -> bytes:
    done, png = cv2.imencode('.png', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    if not done:
        msg = f'OpenCV cannot encode a picture of {rgb.shape[1]}x{rgb.shape[0]} as PNG'
        raise RuntimeError(msg)
    return png.tobytes()


def _facts(message: Any, observation: Observation) -> dict[str, Any]:
    header = message.header
    compressed = isinstance(message, CompressedImage)
    return {
        'camera': observation.camera,
        'frame_id': header.frame_id,
        'stamp': {'sec': header.stamp.sec, 'nanosec': header.stamp.nanosec},
        'encoding': message.format if compressed else message.encoding,
        'raw_score': float(observation.raw_score),
        'score': float(observation.score),
        'threshold': float(observation.threshold),
        'state': observation.state.value,
        'reason': observation.alert.reason,
        'processing_ms': float(observation.latency_ms),
    }


def _is_snapshot_of(node: str, folder: Path) -> bool:
    """Tell whether a folder is a snapshot that a node of this name made."""
    try:
        with (folder / 'snapshot.yaml').open(encoding='utf-8') as file:
            return f'node: {node}\n' in (next(file, ''), next(file, ''))
    except (OSError, UnicodeDecodeError):
        return False


def _plain(name: str) -> str:
    """Return a name that is no path: a frame_id may hold anything."""
    return re.sub(r'[^\w.-]+', '_', name).strip('._')[:100] or 'camera'


def _unused(stem: str, cameras: list[dict[str, Any]]) -> str:
    taken = {Path(camera['image']).stem for camera in cameras}
    numbered = (f'{stem}_{k}' for k in range(2, len(taken) + 3))
    return stem if stem not in taken else next(name for name in numbered if name not in taken)


def _free(path: Path) -> Path:
    """Return the path, or one like it where it is taken: another process may write there, too."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f'{path.name}_{number}')
    return free


def _said(error: Exception) -> str:
    known = isinstance(error, (OodMonitorError, OSError, RuntimeError))
    return str(error) if known else f'{type(error).__name__}: {error}'
