"""
Makes the demo's bag: a normal stretch, loose debris drifting past, a normal stretch again.

Run it from the repository's root: ``python tests/bags/lunar_orbit/make_lunar_orbit.py``. The seed
is one that no training set uses. The same version of the renderer and of OpenGL gives the same
frames; another may differ in single pixels.
"""

from __future__ import annotations

from pathlib import Path
import shutil

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


def main() -> None:
    """Write the bag and the labels beside this file."""
    bag = HERE / 'bag'
    shutil.rmtree(bag, ignore_errors=True)
    visible: list[float] = []
    frames = render_sequence(
        SEED,
        frames=int(SECONDS * RATE_HZ),
        rate_hz=RATE_HZ,
        anomaly=ANOMALY,
        interval=INTERVAL,
    )
    with BagWriter(bag) as writer:
        for frame in frames:
            stamp = START + frame.stamp
            writer.write_jpeg(
                TOPIC, encode_jpeg(frame.rgb), stamp, frame_id='camera_optical_frame'
            )
            if frame.anomaly:
                visible.append(stamp)
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


if __name__ == '__main__':
    main()
