"""
Measures the node under a camera for minutes: a second process publishes raw pictures at a rate.

Run it where ROS is: ``python tests/bench/node_soak.py --bundle models/lunar_orbit --seconds 300``.
It prints JSON: rates, latency (publish time of the observation - image stamp), drops, losses, CPU
time and resident memory of the node's process.
"""

from __future__ import annotations

import argparse
import array
import json
import os
from pathlib import Path
import platform
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import try_shutdown
from sensor_msgs.msg import Image

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.ros import qos
from ros_ood_monitor.ros.process import Spinner
from ros_ood_monitor.share import share_path

TOPIC = '/soak/image'
VARIANTS = 8  # different pictures, sent in turn
COUNTERS = ('received', 'scored', 'dropped', 'missed_frames', 'lost_messages', 'decode_errors')
CLOCK_TICKS = os.sysconf('SC_CLK_TCK')


def publish(args: argparse.Namespace) -> int:
    """Be the camera: publish at the rate, then print how many were sent and how late."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = Node('soak_camera')
    profile = QoSProfile(depth=5, reliability=ReliabilityPolicy[args.reliability.upper()])
    publisher = node.create_publisher(Image, TOPIC, profile)
    rng = np.random.default_rng(0)
    shape = (args.height, args.width, 3)
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(VARIANTS)]
    message = Image(height=args.height, width=args.width, encoding='rgb8', step=3 * args.width)
    message.header.frame_id = 'soak'
    message.data = array.array('B', bytes(pictures[0].nbytes))
    # publishing copies, so one message and its memory serve for all frames
    view = np.frombuffer(message.data, np.uint8).reshape(shape)
    while not publisher.get_subscription_count():
        time.sleep(0.05)
    sent, late, start = 0, 0.0, time.monotonic()
    while (due := start + sent / args.rate) < start + args.seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        late = max(late, time.monotonic() - due)
        np.copyto(view, pictures[sent % VARIANTS])
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        sent += 1
    seconds = time.monotonic() - start
    print(json.dumps({'sent': sent, 'seconds': seconds, 'latest_ms': late * 1e3}))
    time.sleep(1.0)  # the last frame is on its way
    node.destroy_node()
    try_shutdown()
    return 0


class Listener:
    """Collects what the node says."""

    def __init__(self) -> None:
        self.latency_ms: list[float] = []
        self.processing_ms: list[float] = []
        self.input: dict[str, str] = {}
        self.model: dict[str, str] = {}
        self.memory_mib: list[float] = []

    def on_observation(self, message: DiagnosticArray) -> None:
        """Take the times of one frame."""
        values = {pair.key: pair.value for pair in message.status[0].values}
        self.latency_ms.append(float(values['latency_ms']))
        self.processing_ms.append(float(values['processing_ms']))

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        """Keep the latest counters."""
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if status.name.endswith(': input'):
                self.input = values
            elif status.name.endswith(': model'):
                self.model = {**values, 'message': status.message}
                self.memory_mib.append(float(values['memory_mib']))


def process_facts(pid: int) -> dict[str, float]:
    """Return CPU time (s), resident and peak memory (MiB) of a process."""
    status = Path(f'/proc/{pid}/status').read_text()
    lines = dict(line.split(':', 1) for line in status.splitlines() if ':' in line)
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return {
        'cpu_s': (int(fields[11]) + int(fields[12])) / CLOCK_TICKS,
        'rss_mib': int(lines['VmRSS'].split()[0]) / 1024.0,
        'peak_mib': int(lines['VmHWM'].split()[0]) / 1024.0,
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run node and camera, listen to both, and return the result."""
    os.environ['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 101))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    bundle = Bundle.load(args.bundle)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    peer, listener = Node('soak'), Listener()
    peer.create_subscription(
        DiagnosticArray, '/ood_monitor/observation', listener.on_observation, qos.OBSERVATION
    )
    peer.create_subscription(
        DiagnosticArray, '/diagnostics', listener.on_diagnostics, qos.DIAGNOSTICS
    )
    spinner = Spinner(peer)
    load = [os.getloadavg()[0]]
    parameters = ['-p', f'model.bundle:={bundle.path.resolve()}', '-r', f'image:={TOPIC}']
    parameters += ['-p', f'input.depth:={args.depth}'] if args.depth else []
    module = 'ros_ood_monitor.ros.monitor_node'
    node = subprocess.Popen([sys.executable, '-m', module, '--ros-args', *parameters])
    camera = None
    try:
        wait_for(lambda: listener.model.get('lifecycle_state') == 'active', node, 60.0)
        camera = subprocess.Popen(
            [sys.executable, __file__, '--publish', *sys.argv[1:]],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **transport(args)},
        )
        wait_for(lambda: len(listener.latency_ms) >= args.rate, node, 60.0)
        first = process_facts(node.pid)
        started = time.monotonic()
        said, _ = camera.communicate(timeout=args.seconds + 60.0)
        last = process_facts(node.pid)
        seconds = time.monotonic() - started
        seen = listener.input['scored']
        wait_for(lambda: listener.input['scored'] == seen, node, 5.0)
        counters = dict(listener.input)
    finally:
        if camera is not None and camera.poll() is None:
            camera.kill()
        node.send_signal(signal.SIGINT)
        exit_code = node.wait(20.0)
        spinner.stop()
        peer.destroy_node()
        try_shutdown()
    load.append(os.getloadavg()[0])
    sent = json.loads(said)
    latency = np.array(listener.latency_ms)
    return {
        'camera': {
            'size': f'{args.width}x{args.height} rgb8',
            'rate_hz': args.rate,
            'reliability': args.reliability,
            'large_shared_memory': not args.default_transport,
            **sent,
        },
        'node': {
            'observations': int(latency.size),
            'rate_hz': int(counters['scored']) / sent['seconds'],
            'latency_ms': percentiles(latency),
            'processing_ms': percentiles(np.array(listener.processing_ms)),
            **{name: int(counters[name]) for name in COUNTERS},
            'cpu_share_of_a_core': (last['cpu_s'] - first['cpu_s']) / seconds,
            'rss_mib_start': first['rss_mib'],
            'rss_mib_end': last['rss_mib'],
            'rss_mib_at_each_fifth': fifths(listener.memory_mib),
            'peak_mib': last['peak_mib'],
            'exit_code': exit_code,
        },
        'bundle': {'name': bundle.manifest.name, 'digest': bundle.digest},
        'engine': {k: listener.model.get(k, '') for k in ('engine', 'version', 'threads')},
        'machine': {
            'cpu': cpu_name(),
            'cores': len(os.sched_getaffinity(0)),
            'load': load,
            'python': platform.python_version(),
        },
    }


def transport(args: argparse.Namespace) -> dict[str, str]:
    """Return the environment that gives the camera shared memory for its pictures."""
    if args.default_transport:
        return {}
    return {'FASTRTPS_DEFAULT_PROFILES_FILE': str(share_path('config', 'fastdds.xml'))}


def percentiles(values: Any) -> dict[str, float]:
    """Return p50, p99 and the highest."""
    p50, p99 = np.percentile(values, (50, 99))
    return {'p50': float(p50), 'p99': float(p99), 'max': float(values.max())}


def fifths(values: list[float]) -> list[float]:
    """Return six values evenly spaced in time, which show whether memory levels off."""
    return [values[k * (len(values) - 1) // 5] for k in range(6)]


def wait_for(condition: Any, node: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait, but not for a node that has ended."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if node.poll() is not None or time.monotonic() > end:
            msg = f'gave up after {seconds:g} s; the node says: see above'
            raise SystemExit(msg)
        pause.wait(0.05)


def cpu_name() -> str:
    """Return the processor's name."""
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.machine()


def main() -> int:
    """Measure, or be the camera of the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--bundle', required=True, help='bundle to run')
    parser.add_argument('--seconds', type=float, default=300.0, help='how long to publish')
    parser.add_argument('--rate', type=float, default=30.0, help='pictures a second')
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--height', type=int, default=480)
    parser.add_argument('--reliability', choices=('best_effort', 'reliable'), default='reliable')
    parser.add_argument(
        '--default-transport', action='store_true', help="leave Fast DDS's 512 KiB segment"
    )
    parser.add_argument('--depth', type=int, help='input.depth of the node')
    parser.add_argument('--out', type=Path, help='JSON file to write as well')
    parser.add_argument('--publish', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        return publish(args)
    text = json.dumps(measure(args), indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
