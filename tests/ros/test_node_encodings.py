"""The node under cameras of every encoding, and under one that changes it from frame to frame."""

from __future__ import annotations

import array
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import Image

from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.decode import decode_compressed, ENCODINGS
from ros_ood_monitor.monitor import Monitor
from ros_ood_monitor.records import Frame
from ros_ood_monitor.ros.messages.converters import frame_from_image, time_of
from tests.ros.harness import compressed, image, normal_frame, peer, running_node, values

pytestmark = pytest.mark.usefixtures('ros')

PLANES = {'nv12': 1.5, 'nv21': 1.5, 'nv24': 3.0}


def message(encoding: str, rng: np.random.Generator, *, is_bigendian: bool = False) -> Image:
    """Build a frame of random size, padding and content."""
    height, width = (2 * int(n) for n in rng.integers(2, 40, 2))
    step = 8 * width + int(rng.integers(0, 9))  # the widest pixel has 8 bytes
    size = int(height * step * PLANES.get(encoding, 1.0))
    made = Image(
        height=height, width=width, encoding=encoding, step=step, is_bigendian=int(is_bigendian)
    )
    made.data = array.array('B', rng.bytes(size))
    made.header.stamp = time_of(100.0)
    made.header.frame_id = 'camera'
    return made


def test_a_camera_may_change_encoding_size_and_row_length_with_every_frame(
    tiny_bundle: Path,
) -> None:
    rng = np.random.default_rng(17)
    offline = Monitor.from_bundle(Bundle.load(tiny_bundle))
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        for encoding in ENCODINGS:
            for big in (False, True) if '16' in encoding else (False,):
                frame = message(encoding, rng, is_bigendian=big)
                found = values(me.publish_and_wait(frame))
                expected = offline.observe(frame_from_image(frame)).raw_score
                assert float(found['raw_score']) == expected, (encoding, big)
        frames = len(me.observations)
        _, pairs = me.wait_for_status('input', lambda _, p: p['scored'] == str(frames))
        assert pairs['decode_errors'] == '0'


def test_one_picture_scores_the_same_in_every_order_of_its_channels(tiny_bundle: Path) -> None:
    rgb = normal_frame(3, 48, 82)
    rgb[:, :30, 0] = 250  # not grey: swapped channels would change the score
    alpha = np.full((48, 82, 1), 7, np.uint8)
    orders = {'rgb': rgb, 'bgr': rgb[..., ::-1]}
    orders |= {f'{name}a': np.dstack([pixels, alpha]) for name, pixels in orders.items()}
    sent = {f'{name}8': pixels for name, pixels in orders.items()}
    sent |= {f'{name}16': pixels.astype('<u2') * 256 + 99 for name, pixels in orders.items()}
    sent |= {'8UC3': orders['bgr'], '8UC4': orders['bgra'], '16UC3': sent['bgr16']}
    expected = Monitor.from_bundle(Bundle.load(tiny_bundle)).observe(Frame(rgb)).raw_score
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        for encoding, pixels in sent.items():
            for padding in (0, 6):
                found = values(
                    me.publish_and_wait(image(pixels, encoding=encoding, padding=padding))
                )
                assert float(found['raw_score']) == expected, (encoding, padding)


def _damaged() -> list[tuple[Image, str]]:
    rng = np.random.default_rng(2)
    depth = message('mono16', rng)
    depth.encoding = '32FC1'
    odd = message('nv12', rng)
    odd.width += 1
    lost = message('nv21', rng)
    lost.data = lost.data[: lost.height * lost.step]
    short = message('yuyv', rng)
    short.data = short.data[:-1]
    return [
        (depth, 'no camera picture'),
        (odd, 'odd size'),
        (lost, 'height must count the rows of the picture'),
        (short, 'truncated'),
    ]


def test_garbage_between_good_frames_is_counted_and_named_and_every_good_one_scored(
    tiny_bundle: Path,
) -> None:
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        me.publish_and_wait(image(normal_frame(0), stamp=100.0))
        for k, (frame, reason) in enumerate(_damaged(), 1):
            me.publish(frame)
            _, pairs = me.wait_for_status('input', lambda _, p, k=k: p['decode_errors'] == str(k))
            assert reason in pairs['last_decode_error']
            found = values(me.publish_and_wait(image(normal_frame(k), stamp=100.0 + 0.1 * k)))
            assert found['state'] == 'NORMAL'
        assert me.state() == 3
        assert len(me.observations) == 1 + len(_damaged())


def test_compressed_frames_may_change_their_kind_and_be_broken_in_between(
    tiny_bundle: Path,
) -> None:
    rgb = normal_frame(4, 40, 70)
    deep = rgb.astype(np.uint16) * 257
    alpha = np.dstack([rgb, rgb[..., :1]])
    jpeg = cv2.imencode('.jpg', rgb)[1].tobytes()
    kinds = [
        (jpeg, 'rgb8; jpeg compressed bgr8'),
        (cv2.imencode('.png', rgb)[1].tobytes(), 'bgr8; png compressed '),
        (cv2.imencode('.jpg', rgb[..., 0])[1].tobytes(), 'mono8; jpeg compressed mono8'),
        (cv2.imencode('.png', deep)[1].tobytes(), 'rgb16; png compressed bgr16'),
        (cv2.imencode('.png', deep[..., 0])[1].tobytes(), 'mono16; png compressed '),
        (cv2.imencode('.png', alpha)[1].tobytes(), 'rgba8; png compressed bgra8'),
        (cv2.imencode('.png', rgb[..., 0])[1].tobytes(), 'bayer_rggb8; png compressed '),
    ]
    broken = [
        (jpeg[:-40], 'jpeg', 'jpeg truncated'),
        (b'', 'jpeg', 'compressed image is empty'),
        (b'garbage!', 'jpeg', 'unknown compression'),
        (bytes(12) + kinds[4][0], '16UC1; compressedDepth png', 'depth images are not pictures'),
    ]
    offline = Monitor.from_bundle(Bundle.load(tiny_bundle))
    with running_node(model__bundle=str(tiny_bundle), input__transport='compressed'), peer() as me:
        me.activate()
        for k, (file, kind) in enumerate(kinds):
            found = values(me.publish_and_wait(compressed(file, kind=kind)))
            expected = offline.observe(Frame(decode_compressed(file, format=kind))).raw_score
            assert float(found['raw_score']) == expected, kind
            if k < len(broken):
                bad, name, reason = broken[k]
                me.publish(compressed(bad, kind=name))
                _, pairs = me.wait_for_status(
                    'input', lambda _, p, k=k: p['decode_errors'] == str(k + 1)
                )
                assert reason in pairs['last_decode_error']
        assert me.state() == 3
