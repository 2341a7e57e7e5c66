"""One code for Humble, Jazzy and Kilted: what we import from rclpy is in each of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import importlib
from pathlib import Path

import pytest

ROOM = Path(__file__).resolve().parents[2] / 'ros_ood_monitor' / 'ros'

# Read in rclpy 3.3.15 (Humble), 4.1.7 (Iron), 7.1.6 (Jazzy) and 9.1.2 (Kilted). A name that is new
# here has to be looked up there first.
SINCE_HUMBLE = {
    'rclpy': {'init'},
    'rclpy.callback_groups': {'MutuallyExclusiveCallbackGroup', 'ReentrantCallbackGroup'},
    'rclpy.clock': {'Clock', 'ClockType'},
    'rclpy.duration': {'Duration'},
    'rclpy.exceptions': {
        'InvalidHandle',
        'InvalidParameterTypeException',
        'InvalidParameterValueException',
        'NameValidationException',
    },
    'rclpy.executors': {
        'ExternalShutdownException',
        'ShutdownException',
        'SingleThreadedExecutor',
    },
    'rclpy.impl.implementation_singleton': {'rclpy_implementation'},
    'rclpy.lifecycle': {'LifecycleNode', 'LifecycleState', 'TransitionCallbackReturn'},
    'rclpy.logging': {'LoggingSeverity', 'get_logger_effective_level', 'set_logger_level'},
    'rclpy.node': {'Node'},
    'rclpy.parameter': {'Parameter'},
    'rclpy.publisher': {'Publisher'},
    'rclpy.qos': {
        'DurabilityPolicy',
        'HistoryPolicy',
        'QoSPolicyKind',
        'QoSProfile',
        'ReliabilityPolicy',
        'qos_policy_name_from_kind',
    },
    'rclpy.qos_overriding_options': {'QoSOverridingOptions'},
    'rclpy.serialization': {'serialize_message'},
    'rclpy.signals': {'SignalHandlerOptions'},
    'rclpy.subscription': {'Subscription'},
    'rclpy.task': {'Future'},
    'rclpy.utilities': {'remove_ros_args', 'try_shutdown'},
}
EVENTS = {'PublisherEventCallbacks', 'SubscriptionEventCallbacks', 'UnsupportedEventTypeError'}
SINCE_IRON = {'rclpy.event_handler': EVENTS}
IN_HUMBLE_ONLY = {'rclpy.qos_event': EVENTS}


def used() -> Iterator[tuple[str, str, str]]:
    """Yield (module of rclpy, name, file of ours) for every name the room takes from rclpy."""
    for path in sorted(ROOM.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == 'rclpy':
                yield from ((str(node.module), alias.name, path.name) for alias in node.names)
            is_attribute = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if is_attribute and node.value.id == 'rclpy':
                yield 'rclpy', node.attr, path.name


def test_what_humble_lacks_is_imported_in_one_place() -> None:
    found = set(used())
    assert len(found) > 20
    newer = {row for row in found if row[1] not in SINCE_HUMBLE.get(row[0], set())}
    assert {path for *_, path in newer} == {'compat.py'}, sorted(newer)
    tables = (SINCE_IRON, IN_HUMBLE_ONLY)
    assert {(m, n) for m, n, _ in newer} == {
        (module, name) for table in tables for module, names in table.items() for name in names
    }


def test_the_table_is_true_for_the_rclpy_that_is_here() -> None:
    pytest.importorskip('rclpy')
    for table in (SINCE_HUMBLE, SINCE_IRON):
        for module, names in table.items():
            assert names <= set(dir(importlib.import_module(module))), module


def test_a_humble_camera_is_scored_without_message_info(
    ros: None, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip('rclpy')
    from ros_ood_monitor.ros.messages import compat
    from tests.ros.harness import image, normal_frame, peer, running_node

    monkeypatch.setattr(compat, 'GIVES_MESSAGE_INFO', False)
    with running_node(model__bundle=str(tiny_bundle)), peer() as me:
        me.activate()
        observation = me.publish_and_wait(image(normal_frame()))
    assert observation.status[0].level == b'\x00'
