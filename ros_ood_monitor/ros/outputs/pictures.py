"""
Heat-maps and overlays: made only while somebody subscribes, in a thread of their own.

The thread that scores hands frames over and goes on. A picture that is not ready when the next one
comes is overtaken by it: scores are for robots, pictures for people.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
import threading
import traceback
from typing import Any, Final

from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from ros_ood_monitor.images import encode_jpeg
from ros_ood_monitor.maps.overlay import annotated
from ros_ood_monitor.records import Frame, Observation
from ros_ood_monitor.ros.camera.slot import LatestSlots
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.messages.buffers import ImagePublisher
from ros_ood_monitor.ros.parameters.settings import Settings

__all__ = ['CameraPictures', 'PictureThread', 'heatmap_size']

_LONG_SIDE, _SHORT_SIDE = 320, 240  # px: larger messages get lost in Fast DDS's defaults
_WAIT_S: Final = 60.0  # for a frame; then it is waited for again

_Shown = tuple[Header, Frame, Observation]


def heatmap_size(choice: str, grid: tuple[int, int], image: tuple[int, int]) -> tuple[int, int]:
    """
    Return how large a heat-map is published.

    Parameters
    ----------
    choice : {'auto', 'grid', 'input'}
        The parameter ``publish.heatmap_size``.
    grid, image : tuple of int
        Height and width of the grid and of the image.

    Returns
    -------
    tuple of int
        Height and width, in px: of the grid, of the image, or of the image shrunk to 320 on its
        long and 240 on its short side.

    """
    if choice != 'auto':
        return grid if choice == 'grid' else image
    height, width = image
    scale = min(1.0, _LONG_SIDE / max(height, width), _SHORT_SIDE / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


class CameraPictures:
    """
    The pictures about one camera: ``~/heatmap`` and ``~/overlay/compressed``.

    Parameters
    ----------
    node : rclpy.node.Node
        The node to publish from.
    prefix : str
        What stands before their names: ``~``, or ``~/<camera>``.

    """

    def __init__(self, node: Node, prefix: str) -> None:
        self._node = node
        self._prefix = prefix
        self._overlay = self._publisher(CompressedImage, 'overlay/compressed')
        self._heatmap: Publisher | None = None
        self._images: ImagePublisher | None = None

    def offer_heatmap(self, offered: bool) -> None:
        """Make the topic of the heat-map, or take it away: without a map there is none to name."""
        if offered and self._heatmap is None:
            self._heatmap = self._publisher(Image, 'heatmap')
            self._images = ImagePublisher(self._heatmap)
        elif not offered and self._heatmap is not None:
            self._node.destroy_publisher(self._heatmap)
            self._heatmap = self._images = None

    def close(self) -> None:
        """Take the publishers away."""
        self.offer_heatmap(False)
        self._node.destroy_publisher(self._overlay)

    @property
    def is_wanted(self) -> bool:
        """Tell whether anybody subscribes to either now."""
        return _is_heard(self._heatmap) or _is_heard(self._overlay)

    def publish(
        self, header: Header, frame: Frame, observation: Observation, settings: Settings
    ) -> None:
        """
        Publish what is subscribed to.

        Parameters
        ----------
        header : std_msgs.msg.Header
            The image's header.
        frame : Frame
            The picture.
        observation : Observation
            The answer to it.
        settings : Settings
            The parameters ``publish.*``.

        """
        patches = observation.patch_score
        if patches is not None and self._images is not None and _is_heard(self._heatmap):
            height, width = patches.shape
            size = heatmap_size(
                settings.publish_heatmap_size, (height, width), (frame.height, frame.width)
            )
            heat = observation.heatmap_at(size)
            if heat is not None:
                self._images.publish(heat, encoding='32FC1', header=header)
        if _is_heard(self._overlay):
            drawn = annotated(frame.rgb, observation, width=settings.publish_overlay_width)
            data = array.array('B', encode_jpeg(drawn, settings.publish_overlay_quality))
            message = CompressedImage(header=header, format='jpeg')
            message.data = data
            self._overlay.publish(message)

    def _publisher(self, kind: type, name: str) -> Publisher:
        return self._node.create_publisher(
            kind, f'{self._prefix}/{name}', qos.PICTURE, event_callbacks=qos.NO_EVENTS
        )


class PictureThread:
    """
    Makes the pictures of all cameras, the newest of each in turn.

    Parameters
    ----------
    cameras : sequence of CameraPictures
        One a camera.
    settings : callable
        The node's parameters as they are now.
    on_error : callable
        Told with a traceback why a picture was lost; the thread goes on.

    """

    def __init__(
        self,
        cameras: Sequence[CameraPictures],
        *,
        settings: Callable[[], Settings],
        on_error: Callable[[str], None],
    ) -> None:
        self._cameras = tuple(cameras)
        self._settings = settings
        self._on_error = on_error
        self._slots: LatestSlots[_Shown] = LatestSlots(len(self._cameras))
        self._thread = threading.Thread(target=self._run, name='pictures', daemon=True)

    def start(self) -> None:
        """Start taking frames."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Take no more frames, and wait for the picture in work, at most so many s."""
        self._slots.close()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def offer(self, index: int, message: Any, frame: Frame, observation: Observation) -> None:
        """
        Take a scored frame, if its pictures are wanted; never blocks.

        Parameters
        ----------
        index : int
            Its camera.
        message : object
            The message it came in, for its header.
        frame : Frame
            The picture; nobody may write to it any more.
        observation : Observation
            The answer to it.

        """
        if self._cameras[index].is_wanted:
            self._slots.put((message.header, frame, observation), index)

    def _run(self) -> None:
        while self._slots.is_open:
            taken = self._slots.take(_WAIT_S)
            if taken is None:
                continue
            try:
                self._cameras[taken.slot].publish(*taken.item, self._settings())
            except Exception:  # noqa: BLE001, whatever it is: this picture, not the node
                if self._slots.is_open:
                    self._on_error(traceback.format_exc())
            del taken  # the frame is not needed while there is no other


def _is_heard(publisher: Publisher | None) -> bool:
    return publisher is not None and publisher.get_subscription_count() > 0
