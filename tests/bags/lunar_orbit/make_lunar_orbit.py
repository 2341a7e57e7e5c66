"""
Makes the demo's bag: a normal stretch, loose debris drifting past, a normal stretch again.

Run it from the repository's root: ``python tests/bags/lunar_orbit/make_lunar_orbit.py``. The seed
is one that no training set uses. The same version of the renderer and of OpenGL gives the same
frames; another may differ in single pixels.
"""

from __future__ import annotations

from pathlib import Path
import shutil

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from ros_ood_monitor.bags.write import BagWriter
from ros_ood_monitor.lunar.dataset import encode_jpeg
from ros_ood_monitor.lunar.sequence import render_sequence

HERE = Path(__file__).resolve().parent
SEED = 10_006
ANOMALY = 'debris'
INTERVAL = (20.0, 38.0)
SECONDS = 58.0
RATE_HZ = 10.0
TOPIC = '/camera/image/compressed'
START = 1_800_000_000.0
BOX_EVERY = 20  # frames


def main() -> None:
    """Write the bag, the labels and the boxes beside this file."""
    bag = HERE / 'bag'
    shutil.rmtree(bag, ignore_errors=True)
    visible: list[float] = []
    boxes: dict[float, list[int]] = {}
    frames = render_sequence(
        SEED,
        frames=int(SECONDS * RATE_HZ),
        rate_hz=RATE_HZ,
        anomaly=ANOMALY,
        interval=INTERVAL,
    )
    with BagWriter(bag) as writer:
        for k, frame in enumerate(frames):
            stamp = START + frame.stamp
            writer.write_jpeg(
                TOPIC, encode_jpeg(frame.rgb), stamp, frame_id='camera_optical_frame'
            )
            if frame.anomaly:
                visible.append(stamp)
                if k % BOX_EVERY == 0:
                    boxes[round(stamp, 3)] = largest_box(frame.mask)
    labels = [
        {
            'start': round(visible[0], 3),
            'end': round(visible[-1] + 1.0 / RATE_HZ, 3),
            'kind': ANOMALY,
            'camera': TOPIC,
        }
    ]
    text = '# stretches of the bag in which something foreign is visible; image stamps, in s\n'
    (HERE / 'labels.yaml').write_text(text + yaml.safe_dump(labels, sort_keys=False))
    text = '# image stamp, in s: left, top, width, height of the largest foreign body, in px\n'
    (HERE / 'boxes.yaml').write_text(text + yaml.safe_dump(boxes, default_flow_style=None))


def largest_box(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Return left, top, width and height of the largest connected part of a mask."""
    parts = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2][1:]  # without the ground
    left, top, width, height, _ = max(parts.tolist(), key=lambda part: part[cv2.CC_STAT_AREA])
    return [left, top, width, height]


if __name__ == '__main__':
    main()
