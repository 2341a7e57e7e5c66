"""
The one resize of trainer and node: any picture to the network's input size.

The whole frame is squeezed, nothing is cropped: what stands at the border of a robot's picture
matters as much as what stands in its middle. Shrinking averages over the source pixels
(``INTER_AREA``), the OpenCV kernel nearest to the antialiased resize that backbones were trained
with; enlarging is bilinear. Mean and deviation are not applied here: they are inside the
backbone's graph, so that its input stays uint8.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ros_ood_monitor.errors import DecodeError

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
        if (height, width) == (self.height, self.width):
            return rgb[np.newaxis]  # (1, h, w, 3)
        shrinks = height >= self.height and width >= self.width
        kernel = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        if height == width == 1:
            rgb = np.repeat(rgb, 2, axis=0)  # OpenCV 4.5.4 fails on a single pixel
        resized = cv2.resize(rgb, (self.width, self.height), interpolation=kernel)
        return resized[np.newaxis]  # type: ignore[return-value]  # (1, h, w, 3)

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
