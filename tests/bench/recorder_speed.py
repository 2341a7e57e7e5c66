"""
What recording costs the thread that scores, and the process: 640x480 rgb8 at 30 Hz.

Prints microseconds a frame (image and answer) while nothing is recorded and while an alert is,
and the CPU of the process meanwhile. Run: ``python -m tests.bench.recorder_speed [FOLDER]``
"""

from __future__ import annotations

from pathlib import Path
import sys
import tempfile
import time

import numpy as np

from ros_ood_monitor.recorder import Limits, Message, Recorder
from ros_ood_monitor.records import AlertState, Observation, State
from tests.bag_tools import IMAGE, image_message, STORE

RATE_HZ = 30.0
IDLE, RECORDED = 3000, 180  # frames


def main(folder: str | None = None) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(4)]
    frames = [bytes(STORE.serialize_cdr(image_message(rgb), IMAGE)) for rgb in pictures]
    answer = b'\x00\x01\x00\x00\x06\x00\x00\x00alert\x00'
    with tempfile.TemporaryDirectory(dir=folder) as place:
        limits = Limits(Path(place))
        recorder = Recorder('/bench', limits=lambda: limits)

        def take(k: int, state: State) -> float:
            data = frames[k % len(frames)]
            said = Observation(k / RATE_HZ, 'front', 1.0, 0.5, 2.0, AlertState(state))
            start = time.perf_counter()
            # the copy that serialising makes
            recorder.take('front', Message('/image', IMAGE, len(data), lambda: data[:-1]), said)
            recorder.note(Message('/answer', 'std_msgs/msg/String', 800, lambda: answer))
            return (time.perf_counter() - start) * 1e6

        idle = [take(k, State.NORMAL) for k in range(IDLE)]
        _tell('nothing to record', idle)
        held = recorder.report().memory_bytes / 2**20
        start, cpu = time.perf_counter(), time.process_time()
        busy = []
        for k in range(RECORDED):
            busy.append(take(IDLE + k, State.ALERT))
            time.sleep(max(0.0, start + (k + 1) / RATE_HZ - time.perf_counter()))
        cores = (time.process_time() - cpu) / (time.perf_counter() - start)
        _tell('during an alert', busy)
        start = time.perf_counter()
        recorder.stop(60.0, 'measured')
        report = recorder.report()
        print(
            f'{held:.0f} MiB held before it; {cores:.2f} of a core while recording; '
            f'{report.dropped} of {report.written + report.dropped} messages dropped; '
            f'{time.perf_counter() - start:.2f} s to finish the bag'
        )


def _tell(what: str, times: list[float]) -> None:
    p50, p99 = np.percentile(times, [50, 99])
    print(f'{what}: p50 {p50:.0f} us, p99 {p99:.0f} us, most {max(times):.0f} us a frame')


if __name__ == '__main__':
    main(*sys.argv[1:])
