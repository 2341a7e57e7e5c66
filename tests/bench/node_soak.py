"""
Measures the node under a camera for minutes: other processes publish pictures at a rate.

Run it where ROS is: ``python tests/bench/node_soak.py --bundle models/lunar_orbit --seconds 300``.
It prints JSON: rates, latency (publish time of the observation - image stamp), drops, losses, CPU
time inside and beside the engine, and resident memory of the node's process. A camera that
misbehaves, and what the node must say to that, is the subject of ``tests/ros/soak.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import node_camera  # beside this file, which is run as a script
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import CompressedImage, Image

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.evaluation.speed.machine import context
from ros_ood_monitor.ros.messages import qos
from ros_ood_monitor.ros.parameters.table import PARAMETERS
from ros_ood_monitor.ros.process.own_domain import take_domain
from ros_ood_monitor.ros.process.run import Spinner
from ros_ood_monitor.share import share_path

HERE = Path(__file__).parent
CAUSES = ('dropped', 'skipped', 'missed_frames', 'lost_messages', 'decode_errors')
PICTURES = {'heatmap': Image, 'overlay/compressed': CompressedImage}
PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


class Listener:
    """Collects what the node of a namespace says."""

    def __init__(self, space: str) -> None:
        self._node = f'{space}/ood_monitor'.lstrip('/')
        self.latency_ms: list[float] = []
        self.processing_ms: list[float] = []
        self.inputs: dict[str, dict[str, str]] = {}
        self.model: dict[str, str] = {}
        self.memory_mib: list[float] = []
        self.pictures: dict[str, int] = {}

    def on_observation(self, message: DiagnosticArray) -> None:
        """Take the times of one frame."""
        values = {pair.key: pair.value for pair in message.status[0].values}
        self.latency_ms.append(float(values['latency_ms']))
        self.processing_ms.append(float(values['processing_ms']))

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep the latest counters, of every camera."""
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            name, _, part = status.name.rpartition(': ')
            if name != self._node:
                continue
            if part == 'model':
                self.model = {**values, 'message': status.message}
                self.memory_mib.append(float(values['memory_mib']))
            elif part.split()[0] == 'input':
                self.inputs[part] = values

    def listen(self, peer: Node, space: str, topics: list[str]) -> None:
        """Subscribe to pictures, and count them."""
        for topic in topics:
            self.pictures[topic] = 0

            def count(message: Any, topic: str = topic) -> None:
                self.pictures[topic] += 1

            name = f'{space}/ood_monitor/{topic}'
            peer.create_subscription(PICTURES[topic], name, count, qos.PICTURE)

    def count(self, name: str) -> int:
        """Return a counter, summed over the cameras."""
        return sum(int(values.get(name, 0)) for values in self.inputs.values())


class Child(subprocess.Popen[str]):
    """A process of ours that is talked to in lines."""

    def __init__(self, *command: str, **environment: str) -> None:
        super().__init__(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONPATH': str(HERE.parents[1]), **environment},
        )

    def say(self) -> None:
        """Give it a line."""
        assert self.stdin is not None
        self.stdin.write('\n')
        self.stdin.flush()

    def read(self) -> str:
        """Take a line of it."""
        assert self.stdout is not None
        line = self.stdout.readline()
        if not line:
            msg = f'a process ended with {self.wait(10.0)}: {" ".join(map(str, self.args))}'
            raise SystemExit(msg)
        return line.strip()

    def clocks(self) -> dict[str, Any]:
        """Return the CPU times of a probe."""
        self.say()
        return dict(json.loads(self.read()))


def memory_mib(pid: int, key: str) -> float:
    """Return resident (VmRSS) or peak (VmHWM) memory of a process."""
    status = Path(f'/proc/{pid}/status').read_text()
    lines = dict(line.split(':', 1) for line in status.splitlines() if ':' in line)
    return int(lines[key].split()[0]) / 1024.0


def takes_several_cameras() -> bool:
    """Tell whether the node has the parameter that names them."""
    return any(spec.name == 'input.topics' for spec in PARAMETERS)


def node_parameters(args: argparse.Namespace, topics: list[str], space: str) -> list[str]:
    """Return the node's command line."""
    values = {'model.bundle': Bundle.load(args.bundle).path.resolve()}
    if args.depth:
        values['input.depth'] = args.depth
    if args.max_rate:
        values['input.max_rate_hz'] = args.max_rate
        values['alert.stale_after'] = max(2.0, 2.0 / args.max_rate)
    if args.encoding == 'jpeg':
        values['input.transport'] = 'compressed'
    if args.no_tune_malloc:
        values['process.tune_malloc'] = 'false'
    words = ['-r', f'image:={topics[0]}']
    if len(topics) > 1:
        words, values['input.topics'] = [], str(topics)
    for name, value in values.items():
        words += ['-p', f'{name}:={value}']
    return ['--ros-args', '-r', f'__ns:={space}', *words]


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run node and cameras, listen to all, and return the result."""
    if args.cameras > 1 and not takes_several_cameras():
        msg = 'this node takes one camera: it has no parameter input.topics'
        raise SystemExit(msg)
    take_domain()
    machine = context()
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    space = f'/bench{os.getpid()}'  # others may talk on the same domain
    peer, listener = Node('soak', namespace=space), Listener(space)
    peer.create_subscription(
        DiagnosticArray,
        f'{space}/ood_monitor/observation',
        listener.on_observation,
        qos.OBSERVATION,
    )
    peer.create_subscription(
        DiagnosticArray, '/diagnostics', listener.on_diagnostics, qos.DIAGNOSTICS
    )
    listener.listen(peer, space, args.listen)
    spinner = Spinner(peer)
    topics = [f'{space}/camera{k + 1}/image' for k in range(args.cameras)]
    node = Child(str(HERE / 'node_probe.py'), *node_parameters(args, topics, space))
    cameras: list[Child] = []
    try:
        wait_for(lambda: listener.model.get('lifecycle_state') == 'active', node, 60.0)
        command = [str(HERE / 'node_camera.py'), *node_camera.options(args)]
        cameras = [Child(*command, topic, **transport(args)) for topic in topics]
        for camera in cameras:
            assert camera.read() == 'ready'
        first = node.clocks()
        for camera in cameras:
            camera.say()
        time.sleep(min(1.0, args.seconds))  # caches and pools reach their size
        rss_start = memory_mib(node.pid, 'VmRSS')
        sent = [json.loads(camera.read()) for camera in cameras]
        time.sleep(0.2)  # the last picture is on its way
        last = node.clocks()
        rss_end, peak = memory_mib(node.pid, 'VmRSS'), memory_mib(node.pid, 'VmHWM')
        reports = len(listener.memory_mib)
        wait_for(lambda: len(listener.memory_mib) > reports + 1, node, 10.0)
    finally:
        for camera in cameras:
            with contextlib.suppress(BrokenPipeError):
                camera.say()
                camera.wait(10.0)
            camera.kill()
        node.send_signal(signal.SIGINT)
        exit_code = node.wait(20.0)
        spinner.stop()
        peer.destroy_node()
        try_shutdown()
    count, received = sum(one['sent'] for one in sent), listener.count('received')
    latency, processing = np.array(listener.latency_ms), np.array(listener.processing_ms)
    seconds = max(one['seconds'] for one in sent)
    bundle = Bundle.load(args.bundle)
    return {
        'camera': {
            'count': args.cameras,
            'size': f'{args.width}x{args.height} {args.encoding}',
            'bytes': sent[0]['bytes'],
            'rate_hz': args.rate,
            'reliability': args.reliability,
            'large_shared_memory': not args.default_transport,
            'sent': count,
            'seconds': seconds,
            'latest_ms': max(one['latest_ms'] for one in sent),
        },
        'node': {
            'observations': int(latency.size),
            'pictures': listener.pictures,
            'rate_hz': listener.count('scored') / seconds,
            'delivered_share': received / count,
            'received': received,
            'scored': listener.count('scored'),
            **{name: listener.count(name) for name in CAUSES},
            'latency_ms': percentiles(latency),
            'processing_ms': percentiles(processing),
            'latency_beside_processing_ms': percentiles(latency - processing),
            'cpu_ms_per_received_frame': shares(first, last, received),
            'cpu_share_of_a_core': (last['process'] - first['process']) / seconds,
            'tune_malloc': not args.no_tune_malloc,
            'max_rate_hz': args.max_rate or 0.0,
            'rss_mib_start': rss_start,
            'rss_mib_end': rss_end,
            'rss_mib_at_each_fifth': fifths(listener.memory_mib),
            'peak_mib': peak,
            'exit_code': exit_code,
        },
        'bundle': {'name': bundle.manifest.name, 'digest': bundle.digest},
        'engine': {k: listener.model.get(k, '') for k in ('engine', 'version', 'threads')},
        'machine': {**machine, 'load_average_end': [round(x, 2) for x in os.getloadavg()]},
    }


def shares(first: dict[str, Any], last: dict[str, Any], frames: int) -> dict[str, Any]:
    """
    Return CPU time a received frame, in ms.

    ``engine`` is the time inside the inference library, ``resize_and_alert`` what the monitor does
    around it, ``receiving`` everything else in the process: the middleware's threads, the
    executor, decoding, publishing, diagnostics.
    """

    def each(seconds: float) -> float:
        return seconds * 1e3 / max(1, frames)

    spent = {key: last[key] - first[key] for key in ('process', 'engine', 'monitor')}
    threads = {
        name: each(seconds - first['threads'].get(name, 0.0))
        for name, seconds in last['threads'].items()
    }
    return {
        'process': each(spent['process']),
        'engine': each(spent['engine']),
        'resize_and_alert': each(spent['monitor'] - spent['engine']),
        'receiving': each(spent['process'] - spent['monitor']),
        'beside_engine': each(spent['process'] - spent['engine']),
        'by_thread': threads,
    }


def transport(args: argparse.Namespace) -> dict[str, str]:
    """Return the environment that gives the camera shared memory for its pictures."""
    if args.default_transport:
        return {}
    return dict.fromkeys(PROFILES, str(share_path('config', 'fastdds.xml')))


def percentiles(values: Any) -> dict[str, float] | None:
    """Return p50, p99 and the highest; None where nothing was scored."""
    if not values.size:
        return None
    p50, p99 = np.percentile(values, (50, 99))
    return {'p50': float(p50), 'p99': float(p99), 'max': float(values.max())}


def fifths(values: list[float]) -> list[float]:
    """Return six values evenly spaced in time, which show whether memory levels off."""
    return [values[k * (len(values) - 1) // 5] for k in range(6)]


def wait_for(condition: Any, node: Child, seconds: float) -> None:
    """Wait, but not for a node that has ended."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if node.poll() is not None or time.monotonic() > end:
            msg = f'gave up after {seconds:g} s; the node says: see above'
            raise SystemExit(msg)
        pause.wait(0.05)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return what can be measured."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument('--bundle', required=True, help='bundle to run')
    node_camera.add_options(made)
    made.add_argument('--cameras', type=int, default=1, help='how many, each in its process')
    made.add_argument(
        '--default-transport', action='store_true', help="leave Fast DDS's 512 KiB segment"
    )
    made.add_argument('--no-tune-malloc', action='store_true', help='leave malloc as it is')
    made.add_argument(
        '--listen', nargs='+', choices=list(PICTURES), default=[], help='pictures to subscribe to'
    )
    made.add_argument('--depth', type=int, help='input.depth of the node')
    made.add_argument('--max-rate', type=float, help='input.max_rate_hz of the node')
    made.add_argument('--out', type=Path, help='JSON file to write as well')
    return made


def main() -> int:
    """Measure."""
    args = parser(__doc__).parse_args()
    text = json.dumps(measure(args), indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
