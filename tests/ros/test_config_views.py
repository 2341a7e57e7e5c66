"""The layouts in ``config/`` show what the node publishes, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
import re
from typing import Any

import pytest
import yaml

pytest.importorskip('rclpy')

from ros_ood_monitor.ros.monitor_node import OodMonitorNode
from tests.ros.harness import image, normal_frame, peer, running_node, values, wait_until
from tests.tiny_bundle import make_tiny_bundle

pytestmark = pytest.mark.usefixtures('ros')

CONFIG = Path(__file__).resolve().parents[2] / 'config'


def published(node: OodMonitorNode) -> dict[str, str]:
    """Return type by topic of what the node offers."""
    # by topics: asked by its name, Kilted answers for a node of an earlier test
    return {
        topic: types[0]
        for topic, types in node.get_topic_names_and_types()
        if node.count_publishers(topic)
    }


def panels() -> dict[str, dict[str, Any]]:
    layout = json.loads((CONFIG / 'foxglove.json').read_text(encoding='utf-8'))
    found: dict[str, dict[str, Any]] = layout['configById']
    return found


def named() -> set[str]:
    """Return the topics that panels show."""
    topics = set()
    for panel in panels().values():
        if 'imageMode' in panel:
            topics.add(panel['imageMode']['imageTopic'])
        if 'topicToRender' in panel:
            topics.add(panel['topicToRender'])
        topics |= {path['value'].partition('.')[0] for path in panel.get('paths', [])}
    return topics


def test_foxglove_layout_places_every_panel_once() -> None:
    layout = json.loads((CONFIG / 'foxglove.json').read_text(encoding='utf-8'))
    assert {'configById', 'globalVariables', 'userNodes', 'playbackConfig', 'layout'} == set(
        layout
    )

    def leaves(tree: Any) -> list[str]:
        if isinstance(tree, str):
            return [tree]
        assert tree.keys() == {'direction', 'first', 'second', 'splitPercentage'}
        assert tree['direction'] in ('row', 'column')
        return [*leaves(tree['first']), *leaves(tree['second'])]

    assert sorted(leaves(layout['layout'])) == sorted(layout['configById'])
    kinds = {name.partition('!')[0] for name in layout['configById']}
    assert kinds == {
        'Image',
        'Plot',
        'StateTransitions',
        'DiagnosticSummary',
        'DiagnosticStatusPanel',
        'Markdown',
    }


def test_foxglove_layout_names_topics_and_values_that_the_node_publishes(
    tmp_path: Path,
) -> None:
    mapped = make_tiny_bundle(tmp_path / 'mapped', maps=True)
    with running_node(model__bundle=str(mapped.path)) as node, peer() as me:
        me.activate()
        said = {'observation': values(me.publish_and_wait(image(normal_frame())))}
        said['alert'] = values(me.wait_for_alert('NORMAL'))
        # what the graph knows of a node comes behind its state
        wait_until(lambda: named() <= published(node).keys(), 'the topics in the graph')
        topics = published(node)
    shown = set()
    for panel in panels().values():
        if 'imageMode' in panel:
            assert topics[panel['imageMode']['imageTopic']].startswith('sensor_msgs/msg/')
        if 'topicToRender' in panel:
            assert topics[panel['topicToRender']] == 'diagnostic_msgs/msg/DiagnosticArray'
        for path in panel.get('paths', []):
            topic, _, field = path['value'].partition('.')
            assert topic in topics
            if field != 'data':
                match = re.fullmatch(r'status\[0\]\.values\[:\]\{key=="(\w+)"\}\.value', field)
                assert match is not None, field
                key = match[1]
                assert key in said[topic.rsplit('/', 1)[-1]]
                shown.add(key)
    assert shown == {'raw_score', 'threshold', 'state'}
    heat = panels()['Image!heatmap']['imageMode']
    assert topics[heat['imageTopic']] == 'sensor_msgs/msg/Image'
    assert (heat['minValue'], heat['maxValue']) == (0, 2)  # the threshold in the middle


def test_rviz_shows_the_input_and_a_picture_that_the_node_publishes(tiny_bundle: Path) -> None:
    with running_node(model__bundle=str(tiny_bundle)) as node, peer() as me:
        me.activate()
        layout = yaml.safe_load((CONFIG / 'rviz.rviz').read_text(encoding='utf-8'))
        camera, overlay = layout['Visualization Manager']['Displays']
        shown = overlay['Topic']['Value']
        # what the graph knows of a node comes behind its state
        wait_until(lambda: shown in published(node), f'{shown} in the graph')
        assert published(node)[shown] == 'sensor_msgs/msg/CompressedImage'
        seen = camera['Topic']['Value']
        wait_until(lambda: node.count_subscribers(seen), 'the subscription in the graph')
    assert camera['Class'] == overlay['Class'] == 'rviz_default_plugins/Image'


def test_diagnostic_aggregator_has_one_place_for_every_status_and_no_place_for_none(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    file = yaml.safe_load((CONFIG / 'diagnostic_aggregator.yaml').read_text(encoding='utf-8'))
    group = file['analyzers']['ros__parameters']['ood_monitor']
    places = [analyzer['contains'] for analyzer in group['analyzers'].values()]
    names: set[str] = set()
    for topics in (['image'], ['/front/image', '/left/image']):
        with (
            running_node(
                'robot',
                model__bundle=str(tiny_bundle),
                input__topics=topics,
                record__folder=str(tmp_path),
            ),
            peer(namespace='robot') as me,
        ):
            me.activate()
            me.wait_for_status('recorder', lambda s, _: True)
            names |= {status.name for status in me.statuses}
    assert {'robot/ood_monitor: input', 'robot/ood_monitor: input left'} < names
    for name in names:
        assert sum(pattern in name for place in places for pattern in place) == 1, name
    for place in places:
        assert any(pattern in name for pattern in place for name in names), place
