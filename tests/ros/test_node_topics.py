"""Input topics: publishers that come late or publish something else, and QoS overrides."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from pathlib import Path
from typing import Any

import cv2
import pytest

pytest.importorskip('rclpy')

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from tests.ros.harness import (
    BEST_EFFORT,
    compressed,
    image,
    normal_frame,
    Peer,
    peer,
    RELIABLE,
    running_node,
    UNCONFIGURED,
    values,
    wait_until,
)

pytestmark = pytest.mark.usefixtures('ros')

ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
FILE = cv2.imencode('.jpg', normal_frame())[1].tobytes()


@contextlib.contextmanager
def _stranger(me: Peer) -> Iterator[Node]:
    """Make a node in a context of its own: the middleware allows one type a topic in each."""
    context = Context()
    context.init()
    node = Node('stranger', context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()
        # or the next test finds its publishers
        wait_until(lambda: 'stranger' not in me.node.get_node_names(), 'the stranger to be gone')


@pytest.mark.parametrize('reliability', [RELIABLE, BEST_EFFORT], ids=['reliable', 'best effort'])
def test_camera_that_comes_after_activation_is_heard(tiny_bundle: Path, reliability: Any) -> None:
    with (
        running_node(model__bundle=str(tiny_bundle), alert__stale_after=0.1),
        peer(reliability=reliability) as me,
    ):
        me.activate()
        me.wait_for_status('input', lambda s, _: 'no publisher on /image;' in s.message)
        me.publish_and_wait(image(normal_frame()))


@pytest.mark.parametrize(
    ('transport', 'topic', 'kind', 'level', 'said'),
    [
        (
            'raw',
            'image/compressed',
            CompressedImage,
            ERROR,
            'no publisher on /image, but one on /image/compressed; '
            'set input.transport: compressed',
        ),
        (
            'compressed',
            'image',
            Image,
            ERROR,
            'no publisher on /image/compressed, but one on /image; set input.transport: raw',
        ),
        (
            'raw',
            'image',
            CompressedImage,
            ERROR,
            '/image is published as sensor_msgs/msg/CompressedImage, not as '
            'sensor_msgs/msg/Image; set input.transport: compressed',
        ),
        (
            'raw',
            'image',
            String,
            ERROR,
            '/image is published as std_msgs/msg/String, not as sensor_msgs/msg/Image; '
            'remap image to images',
        ),
        ('raw', 'other', Image, STALE, 'no publisher on /image; remap image to your camera'),
    ],
    ids=['only compressed', 'only raw', 'other transport', 'no images', 'elsewhere'],
)
def test_diagnostics_name_what_is_published_instead_and_the_cure(
    tiny_bundle: Path, transport: str, topic: str, kind: Any, level: bytes, said: str
) -> None:
    parameters = {'input__transport': transport, 'alert__stale_after': 0.1}
    with running_node(model__bundle=str(tiny_bundle), **parameters), peer() as me:
        me.activate()
        with _stranger(me) as stranger:
            stranger.create_publisher(kind, topic, RELIABLE)
            # a report from before the silence is long enough says the same, but as a warning
            _, pairs = me.wait_for_status(
                'input', lambda s, _: (s.level, s.message) == (level, said)
            )
        assert pairs['publishers'] == '0'


def test_silence_is_told_with_its_cure_in_the_log_and_the_alert(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nobody = 'no publisher on /image; remap image to your camera'
    other = 'no publisher on /image, but one on /image/compressed; set input.transport: compressed'

    told: list[str] = []

    def logged(cause: str) -> bool:
        told.extend(line for line in capfd.readouterr().err.splitlines() if 'STALE' in line)
        return any(cause in line for line in told)

    with running_node(model__bundle=str(tiny_bundle), alert__stale_after=0.2), peer() as me:
        me.activate()
        wait_until(
            lambda: (
                me.alerts
                and values(me.alerts[-1])['reason'].endswith(f's without a frame: {nobody}')
            ),
            'the cure in the alert',
        )
        wait_until(lambda: logged(nobody), 'the cure in the log')
        with _stranger(me) as stranger:
            stranger.create_publisher(CompressedImage, 'image/compressed', RELIABLE)
            wait_until(lambda: logged(other), 'the other cure in the log')


def test_topic_that_is_given_with_compressed_is_not_given_it_twice(tiny_bundle: Path) -> None:
    parameters = {'input__transport': 'compressed', 'input__topics': ['cam/image/compressed']}
    with running_node(model__bundle=str(tiny_bundle), **parameters), peer(topic='cam/image') as me:
        me.activate()
        me.publish_and_wait(compressed(FILE))


@pytest.mark.parametrize('entry', ['image', 'image/compressed'])
def test_compressed_topic_may_be_remapped_by_its_whole_name(tiny_bundle: Path, entry: str) -> None:
    with (
        running_node(
            model__bundle=str(tiny_bundle),
            input__transport='compressed',
            input__topics=[entry],
            cli_args=['--ros-args', '-r', 'image/compressed:=/jpeg'],
        ) as node,
        peer() as me,
    ):
        me.activate()
        publisher = me.node.create_publisher(CompressedImage, '/jpeg', RELIABLE)
        wait_until(publisher.get_subscription_count, 'the node to subscribe')
        publisher.publish(compressed(FILE))
        wait_until(lambda: me.observations, 'an observation')
        assert node._cameras[0].topic == '/jpeg'


@pytest.mark.parametrize('transport', ['raw', 'compressed'])
@pytest.mark.parametrize(
    ('topics', 'rules'),
    [
        (['/front', '/rear'], ['/front:=/rear', '/rear:=/front']),
        (['image'], ['image:=/cam/image_raw', '/cam/image_raw:=/cam/image_rect']),
        (['image'], ['/image:=/a', '/a/compressed:=/b', '/b:=/c']),
    ],
    ids=['swapped', 'chain', 'chain of the transport'],
)
def test_topic_that_is_told_is_the_one_that_is_heard_and_is_remapped_once(
    tiny_bundle: Path, transport: str, topics: list[str], rules: list[str]
) -> None:
    remapped = [word for rule in rules for word in ('-r', rule)]
    kind = CompressedImage if transport == 'compressed' else Image
    with (
        running_node(
            model__bundle=str(tiny_bundle),
            input__transport=transport,
            input__topics=topics,
            cli_args=['--ros-args', *remapped],
        ) as node,
        peer() as me,
        _stranger(me) as stranger,
    ):
        plain = [node.create_subscription(kind, topic, print, 1).topic_name for topic in topics]
        if transport == 'compressed':
            whole = [f'{topic}/compressed' for topic in plain]
            plain = [node.create_subscription(kind, t, print, 1).topic_name for t in whole]
        me.activate()
        told = [camera.topic for camera in node._cameras]
        assert told == plain
        heard = [s.topic_name for s in node.subscriptions if s.callback is not print]
        assert {*told} <= {*heard}
        for topic in told:
            stranger.create_publisher(kind, topic, RELIABLE)
        for name in [camera.name for camera in node._cameras]:
            input_name = f'input {name}' if name else 'input'
            _, pairs = me.wait_for_status(input_name, lambda _, p: p['publishers'] == '1')
            assert pairs['topic'] in told


@pytest.mark.parametrize(
    ('topics', 'reason'),
    [
        ([], "'input.topics' must name a topic a camera, got ['']"),
        (['a//b'], "got 'a//b': failed to resolve name: topic name must not contain repeated '/'"),
        (['a', 'b', 'a'], "for every camera, got ['a', 'b', 'a'] with /a twice"),
    ],
)
def test_topics_that_name_no_cameras_refuse_to_configure_with_the_reason(
    tiny_bundle: Path, topics: list[str], reason: str
) -> None:
    given = ['--ros-args', '-p', f'input.topics:={topics}']
    with running_node(model__bundle=str(tiny_bundle), cli_args=given), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        assert me.state() == UNCONFIGURED
        status, _ = me.wait_for_status('model', lambda s, _: s.level == ERROR)
        assert status.message.endswith(reason)


def _profile(node: Any) -> Any:
    (subscription,) = (s for s in node.subscriptions if s.topic_name == '/image')
    return subscription.qos_profile


def _overrides(**values: Any) -> list[str]:
    words = ['--ros-args']
    for policy, value in values.items():
        words += ['-p', f'qos_overrides./image.subscription.{policy}:={value}']
    return words


def test_qos_overrides_win_over_reliability_and_depth(tiny_bundle: Path) -> None:
    given = _overrides(
        depth=7, reliability='reliable', durability='transient_local', history='keep_last'
    )
    with (
        running_node(model__bundle=str(tiny_bundle), input__depth=3, cli_args=given) as node,
        peer() as me,
    ):
        for _ in range(2):  # rclpy declares them once
            me.activate()
            profile = _profile(node)
            assert profile.depth == 7
            assert profile.reliability is ReliabilityPolicy.RELIABLE
            assert profile.durability is DurabilityPolicy.TRANSIENT_LOCAL
            assert profile.history is HistoryPolicy.KEEP_LAST
            assert me.change(Transition.TRANSITION_DEACTIVATE)
            assert me.change(Transition.TRANSITION_CLEANUP)


def test_policy_that_is_not_overridden_follows_its_parameter_from_round_to_round(
    tiny_bundle: Path,
) -> None:
    from rclpy.parameter import Parameter

    given = _overrides(reliability='reliable')
    with (
        running_node(model__bundle=str(tiny_bundle), input__depth=3, cli_args=given) as node,
        peer() as me,
    ):
        for depth in (3, 9):
            assert node.set_parameters([Parameter('input.depth', value=depth)])[0].successful
            me.activate()
            assert _profile(node).depth == depth
            assert _profile(node).reliability is ReliabilityPolicy.RELIABLE
            assert me.change(Transition.TRANSITION_DEACTIVATE)
            assert me.change(Transition.TRANSITION_CLEANUP)


@pytest.mark.parametrize(
    ('policy', 'value', 'reason'),
    [
        (
            'reliability',
            'sometimes',
            "must be one of ['best_effort', 'reliable'], got 'sometimes'",
        ),
        ('reliability', 'best_available', "must be one of ['best_effort', 'reliable'], got 'best"),
        ('reliability', 3, "must be one of ['best_effort', 'reliable'], got 3"),
        ('history', 'all', "must be one of ['keep_last', 'keep_all'], got 'all'"),
        ('durability', 'persistent', "must be one of ['volatile', 'transient_local'], got"),
        ('depth', -1, 'must lie in 1 to 1000 frames, got -1'),
        ('depth', 'deep', "must lie in 1 to 1000 frames, got 'deep'"),
        ('depth', 'true', 'must lie in 1 to 1000 frames, got True'),
    ],
)
def test_qos_override_that_is_not_allowed_refuses_to_configure_with_the_reason(
    tiny_bundle: Path, policy: str, value: Any, reason: str
) -> None:
    given = _overrides(**{policy: value})
    with running_node(model__bundle=str(tiny_bundle), cli_args=given), peer() as me:
        assert not me.change(Transition.TRANSITION_CONFIGURE)
        assert me.state() == UNCONFIGURED
        status, _ = me.wait_for_status('model', lambda s, _: s.level == ERROR)
        assert f"'qos_overrides./image.subscription.{policy}' {reason}" in status.message


def test_qos_override_of_nothing_is_warned_about(
    tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = [
        *_overrides(dept=7, depth=2),
        *('-p', 'qos_overrides./imgae.subscription.depth:=7'),
        *('-p', 'qos_overrides./clock.subscription.depth:=7'),
        *('-p', 'qos_override./image.subscription.depth:=7'),
    ]
    with running_node(model__bundle=str(tiny_bundle), cli_args=given), peer() as me:
        assert me.change(Transition.TRANSITION_CONFIGURE)
    said = capfd.readouterr().err
    for name in ('/image.subscription.dept', '/imgae.subscription.depth'):
        assert f"'qos_overrides.{name}' overrides nothing: no such policy or topic" in said
    assert said.count('overrides nothing') == 2
    misspelt = "'qos_override./image.subscription.depth' is ignored"
    assert f"{misspelt}; did you mean 'qos_overrides./image.subscription.depth'?" in said
    assert said.count('is ignored') == 1
