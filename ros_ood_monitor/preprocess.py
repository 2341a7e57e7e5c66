"""
The one resize of trainer and node: any picture to the network's input size.

The whole frame is squeezed, nothing is cropped: what stands at the border of a robot's picture
matters as much as what stands in its middle. A side that shrinks is averaged over the source
pixels (``INTER_AREA``), the OpenCV kernel nearest to the antialiased resize that backbones were
trained with: nothing falls between two samples. A side that grows is bilinear. Mean and deviation
are not applied here: they are inside the backbone's graph, so that its input stays uint8.
"""

from __future__ import annotations

from dataclasses import replace
import time

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import DecodeError
from ros_ood_monitor.records import Frame, NetworkInput

__all__ = ['RESIZE_RULE', 'Preprocessor']

RESIZE_RULE = 'whole_frame_area'
"""Name of this rule in a bundle's manifest; another rule needs another name."""


class Preprocessor:
    """
    Resizes whole frames to the input size of a network.

    Parameters
    ----------
    height, width : int
        Input size of the network, in px.

    """

    def __init__(self, height: int, width: int) -> None:
        if height < 1 or width < 1:
            msg = f'input size must be at least 1x1, got {width}x{height}'
            raise DecodeError(msg)
        self.height = height
        self.width = width

    def __call__(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """
        Return the network's input for one picture.

        Parameters
        ----------
        rgb : ndarray of shape (height, width, 3), uint8
            The picture; of any size.

        Returns
        -------
        ndarray of shape (1, input_height, input_width, 3), uint8
            A batch of one. It may share memory with ``rgb`` where no resize is needed.

        """
        height, width = rgb.shape[:2]
        small = min(height, self.height), min(width, self.width)
        resized = _resized(rgb, small, cv2.INTER_AREA)  # what is larger, shrunk
        resized = _resized(resized, (self.height, self.width), cv2.INTER_LINEAR)  # (h, w, 3)
        return resized[np.newaxis]  # (1, h, w, 3)

    def ahead(self, frame: Frame) -> Frame:
        """
        Make the network's input of a frame before the frame is observed; may run in any thread.

        Parameters
        ----------
        frame : Frame
            The frame.

        Returns
        -------
        Frame
            The same, with its network input.

        """
        start = time.perf_counter()
        image = self(frame.rgb)  # (1, h, w, 3)
        seconds = time.perf_counter() - start
        return replace(frame, network_input=NetworkInput(image, frame.rgb, seconds))

    def input_of(self, frame: Frame) -> NetworkInput:
        """
        Return the network's input for a frame: what `ahead` made, where that is of its picture.

        Parameters
        ----------
        frame : Frame
            The frame.

        Returns
        -------
        NetworkInput
            Its ``seconds`` are 0 where it is made now, because it was not, or of another size.

        """
        made, size = frame.network_input, (self.height, self.width)
        # a copy of the frame with other pixels still has what was made of the old ones
        if made is not None and made.rgb is frame.rgb and made.image.shape[1:3] == size:
            return made
        return NetworkInput(self(frame.rgb), frame.rgb, 0.0)

    def image_from_input(self, image_height: int, image_width: int) -> npt.NDArray[np.float64]:
        """
        Return the affine map from input pixels to image pixels.

        Both sides count pixels so that integers are pixel centres, as OpenCV does.

        Parameters
        ----------
        image_height, image_width : int
            Size of the picture, in px.

        Returns
        -------
        ndarray of shape (3, 3), float64
            ``image_xy1 = image_from_input @ input_xy1``.

        """
        scale_x = image_width / self.width
        scale_y = image_height / self.height
        return np.array(
            [
                [scale_x, 0.0, 0.5 * scale_x - 0.5],
                [0.0, scale_y, 0.5 * scale_y - 0.5],
                [0.0, 0.0, 1.0],
            ]
        )


def _resized(
    rgb: npt.NDArray[np.uint8], size: tuple[int, int], kernel: int
) -> npt.NDArray[np.uint8]:
    """Return a picture in another height and width; the same one where it has them."""
    if rgb.shape[:2] == size:
        return rgb
    if rgb.shape[:2] == (1, 1):
        rgb = np.repeat(rgb, 2, axis=0)  # OpenCV 4.5.4 fails on a single pixel
    return cv2.resize(rgb, size[::-1], interpolation=kernel)  # type: ignore[return-value]
