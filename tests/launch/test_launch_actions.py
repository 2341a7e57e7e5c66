"""What launch would start, without starting it: names, topics, parameters and environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip('launch_ros', reason='launch is not on this machine')

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    SetEnvironmentVariable,
)
from launch.substitutions import LaunchConfiguration, LocalSubstitution, TextSubstitution
from launch.utilities import perform_substitutions
from launch_ros.actions import Node, PushRosNamespace, SetParameter, SetRemap

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros.launching.monitor import camera_environment, monitor_node, shared

ROOT = Path(__file__).resolve().parents[2]
OURS = shared('config', 'fastdds.xml')
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


@dataclass(frozen=True)
class Started:
    """A node as launch would start it."""

    name: str
    remappings: tuple[tuple[str, str], ...]
    parameters: Mapping[str, Any]
    profiles: tuple[str, ...]
    log_level: str
    words: tuple[str, ...]


def walk(entities: Any, context: LaunchContext) -> Iterator[Started]:
    for entity in entities:
        if isinstance(entity, Node):
            if entity.condition is None or entity.condition.evaluate(context):
                yield _started(entity, context)
        else:
            yield from walk(entity.visit(context) or [], context)


def _started(node: Any, context: LaunchContext) -> Started:
    node._perform_substitutions(context)  # what it does first where it is executed
    # names and remappings are filled in where it is executed; they are properties of the action
    fixed = (w for w in node.cmd if not any(isinstance(x, LocalSubstitution) for x in w))
    words = [perform_substitutions(context, word) for word in fixed]
    parameters: dict[str, Any] = {}
    for before, word in itertools.pairwise(words):
        if before == '--params-file':
            for of_node in yaml.safe_load(Path(word).read_text(encoding='utf-8')).values():
                parameters |= of_node['ros__parameters']
        if before == '-p':
            name, value = word.split(':=', 1)
            parameters[name] = yaml.safe_load(value)
    environment = dict(context.environment)
    for name, value in node.additional_env or []:
        environment[perform_substitutions(context, name)] = perform_substitutions(context, value)
    return Started(
        node.node_name,
        tuple(node.expanded_remapping_rules or ()),
        parameters,
        tuple(environment[name] for name in VARIABLES if name in environment),
        words[words.index('--log-level') + 1] if '--log-level' in words else '',
        tuple(words),
    )


def start(*actions: Any, **environment: str) -> list[Started]:
    context = LaunchContext(argv=[])
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    context.environment.clear()
    context.environment.update({**clean, **environment})
    return list(walk([LaunchDescription(list(actions))], context))


def include(file: str, /, **arguments: Any) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(
        str(ROOT / 'launch' / f'{file}.launch.py'), launch_arguments=arguments.items()
    )


def test_an_include_without_arguments_starts_one_node_that_waits_for_image() -> None:
    (node,) = start(include('monitor'))
    assert node.name == '/ood_monitor'
    assert node.remappings == ()
    assert node.parameters['model']['bundle'] == ''  # of the shipped parameter file
    assert node.profiles == (OURS, OURS)
    assert node.log_level == 'info'


def test_several_includes_in_groups_of_their_own_do_not_see_each_other() -> None:
    front, rear = start(
        GroupAction([include('monitor', namespace='front', transport='compressed', image='a')]),
        GroupAction([include('monitor', namespace='rear', bundle='b', log_level='warn')]),
    )
    assert (front.name, rear.name) == ('/front/ood_monitor', '/rear/ood_monitor')
    assert (front.remappings, rear.remappings) == ((('image', 'a'),), ())
    assert front.parameters['input.transport'] == 'compressed'
    assert 'input.transport' not in rear.parameters
    assert 'model.bundle' not in front.parameters
    assert (front.log_level, rear.log_level) == ('info', 'warn')


def test_defaults_of_an_include_do_not_reach_what_is_included_later() -> None:
    context = LaunchContext(argv=[])
    list(walk([include('monitor', bundle='b'), include('multi_camera', bundle='b')], context))
    # launch itself leaves what was given there; nothing that only we declare
    assert set(context.launch_configurations) == {'bundle'}


def test_namespace_and_remappings_of_the_group_around_hold() -> None:
    (node,) = start(
        GroupAction(
            [
                PushRosNamespace('robot'),
                SetRemap('image', '/eye'),
                SetParameter('use_sim_time', True),
                include('monitor', namespace='head', name='watch'),
            ]
        )
    )
    assert node.name == '/robot/head/watch'
    assert node.remappings == (('image', '/eye'),)
    assert node.parameters['use_sim_time'] is True


def test_several_cameras_become_string_arrays() -> None:
    (node,) = start(
        include('multi_camera', topics='[/front/image_raw, /rear/image_raw]', cameras='[on, off]')
    )
    assert node.parameters['input.topics'] == ['/front/image_raw', '/rear/image_raw']
    assert node.parameters['input.cameras'] == ['on', 'off']
    assert node.remappings == ()


def test_empty_arguments_of_a_replay_say_nothing() -> None:
    names = ('image', 'source', 'rate', 'restamp', 'shutdown_at_end', 'autostart')
    empty = dict.fromkeys(names, '')
    monitor, player = start(include('replay', bag='b', transport='raw', **empty))
    assert monitor.remappings == player.remappings == ()
    assert player.words[player.words.index('b') + 1] == '--ros-args'


def test_wrong_list_of_cameras_is_refused_in_words() -> None:
    with pytest.raises(ParameterError, match="'topics' must be a YAML list"):
        start(include('multi_camera', topics='/front/image_raw'))


def test_one_camera_and_several_at_once_are_refused() -> None:
    with pytest.raises(ParameterError, match='expected image for one camera or topics for sev'):
        monitor_node(image='/a', topics=['/b', '/c'])


def test_words_that_look_like_numbers_stay_words() -> None:
    (node,) = start(monitor_node(bundle='2024', topics=['/a', '/b'], cameras=['true', '7e3']))
    assert node.parameters['model.bundle'] == '2024'
    assert node.parameters['input.cameras'] == ['true', '7e3']


def test_the_node_takes_substitutions_for_everything() -> None:
    (node,) = start(
        DeclareLaunchArgument('data', default_value='007'),
        DeclareLaunchArgument('eyes', default_value='[/left, /right]'),
        DeclareLaunchArgument('sim', default_value='true'),
        monitor_node(
            bundle=[TextSubstitution(text='/models/'), LaunchConfiguration('data')],
            topics=LaunchConfiguration('eyes'),
            use_sim_time=LaunchConfiguration('sim'),
            autostart=False,
            namespace='robot',
        ),
    )
    assert node.name == '/robot/ood_monitor'
    assert node.parameters == {
        'model.bundle': '/models/007',
        'input.topics': ['/left', '/right'],
        'use_sim_time': True,
        'autostart': False,
    }


def test_parameters_win_over_options_and_options_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / 'p.yaml'
    file.write_text('/**: {ros__parameters: {model.bundle: a, input.depth: 1, autostart: true}}')
    (node,) = start(
        monitor_node(
            params_file=str(file), bundle='b', autostart=False, parameters=[{'autostart': True}]
        )
    )
    assert node.parameters == {'model.bundle': 'b', 'input.depth': 1, 'autostart': True}


@pytest.mark.parametrize('variable', VARIABLES)
def test_a_profile_that_is_set_stays_under_either_name(variable: str) -> None:
    theirs = ('/theirs.xml', '/theirs.xml')
    (node,) = start(include('monitor'), **{variable: '/theirs.xml'})
    assert node.profiles == theirs
    (camera,) = start(
        *camera_environment(),
        Node(package='ros_ood_monitor', executable='ood_monitor_node'),
        **{variable: '/theirs.xml'},
    )
    assert camera.profiles == theirs


def test_a_profile_of_the_group_around_stays_and_ours_does_not_leave_the_include() -> None:
    inside, outside = start(
        GroupAction([SetEnvironmentVariable(VARIABLES[0], '/group.xml'), include('monitor')]),
        include('monitor'),
        Node(package='ros_ood_monitor', executable='ood_monitor_node'),
    )[::2]
    assert inside.profiles == ('/group.xml', '/group.xml')
    assert outside.profiles == ()


def test_cameras_after_the_environment_publish_with_the_profile() -> None:
    (camera,) = start(
        *camera_environment(), Node(package='ros_ood_monitor', executable='ood_monitor_node')
    )
    assert camera.profiles == (OURS, OURS)
