"""
Image bytes as they travel over ROS, turned into pictures, without any ROS type.

The same two functions read messages of a live topic and of a bag, so that a replay sees the
pixels that the robot saw.
"""

from __future__ import annotations

from ros_ood_monitor.decode.compressed import COMPRESSIONS, decode_compressed
from ros_ood_monitor.decode.uncompressed import decode_image, ENCODINGS

__all__ = ['COMPRESSIONS', 'ENCODINGS', 'decode_compressed', 'decode_image']
