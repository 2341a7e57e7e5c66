"""Launch files without running them: ``launch`` is not installable where these tests must pass."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from ros_ood_monitor.errors import ParameterError
from ros_ood_monitor.ros import launching as package
from ros_ood_monitor.ros.launching import arguments as launch_arguments
from ros_ood_monitor.ros.launching import monitor as launching
from ros_ood_monitor.ros.launching import replay as launch_replay
from ros_ood_monitor.ros.launching.arguments import (
    LaunchArgument,
    MONITOR,
    monitor_options,
    MULTI_CAMERA,
    REPLAY,
)
from ros_ood_monitor.ros.parameters.table import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
TABLES = {
    'monitor.launch.py': MONITOR,
    'multi_camera.launch.py': MULTI_CAMERA,
    'replay.launch.py': REPLAY,
}
ARGUMENTS = list(dict.fromkeys([*MONITOR, *MULTI_CAMERA, *REPLAY]))
MODULES = {package.__name__: package}


def by_name(argument: LaunchArgument) -> str:
    return argument.name


def test_the_launch_files_are_these() -> None:
    assert [path.name for path in FILES] == list(TABLES)


@pytest.mark.parametrize('table', TABLES.values(), ids=TABLES)
def test_no_argument_is_declared_twice(table: tuple[LaunchArgument, ...]) -> None:
    names = [argument.name for argument in table]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize('argument', ARGUMENTS, ids=by_name)
def test_every_argument_has_a_sentence_of_description(argument: LaunchArgument) -> None:
    assert argument.description[0].isupper()
    assert argument.description.endswith('.')


@pytest.mark.parametrize('argument', ARGUMENTS, ids=by_name)
def test_an_argument_sets_a_parameter_that_exists_and_offers_its_choices(
    argument: LaunchArgument,
) -> None:
    specs = {spec.name: spec for spec in PARAMETERS}
    if argument.parameter == 'use_sim_time':  # every node has it
        return
    if not argument.parameter:
        assert argument.kind == 'text' or argument in REPLAY
        return
    spec = specs[argument.parameter]
    kind = {'bool': 'switch', 'string': 'text', 'string array': 'names'}
    assert argument.kind == kind[spec.type_name]
    assert argument.choices == (('', *spec.choices) if spec.choices else ())


@pytest.mark.parametrize('argument', ARGUMENTS, ids=by_name)
def test_every_default_is_allowed_and_every_shipped_file_exists(argument: LaunchArgument) -> None:
    if argument.shipped:
        assert Path(str(argument.default_text)).is_file()
    if argument.choices:
        assert argument.default in argument.choices


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_launch_files_only_declare_and_start(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions] == ['generate_launch_description']
    (function,) = functions
    kinds = {type(statement) for statement in function.body}
    assert kinds <= {ast.Expr, ast.Return}, 'a launch file holds no logic'
    ours = [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('ros_ood')
        for alias in node.names
    ]
    assert ours
    for module, name in ours:
        assert name in MODULES[str(module)].__all__


def test_what_a_launch_file_declares_are_keywords_of_the_node() -> None:
    keywords = set(inspect.signature(launching.monitor_node).parameters)
    assert {argument.name for argument in [*MONITOR, *MULTI_CAMERA]} <= keywords


def test_the_player_reads_arguments_that_are_declared() -> None:
    tree = ast.parse(Path(launch_replay.__file__).read_text(encoding='utf-8'))
    read = {
        ast.literal_eval(node.slice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript)
        and getattr(node.value, 'id', '') == 'given'
        and isinstance(node.slice, ast.Constant)
    }
    declared = {argument.name for argument in REPLAY}
    assert declared - {argument.name for argument in MONITOR} <= read <= declared


def test_executable_is_a_command_of_the_package() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert f'{launching.EXECUTABLE} = ros_ood_monitor.ros.main:main' in setup
    assert f'<name>{launching.PACKAGE}</name>' in (ROOT / 'package.xml').read_text('utf-8')


def _given(table: tuple[LaunchArgument, ...], **changes: str) -> dict[str, str]:
    return {**{argument.name: '' for argument in table}, **changes}


@pytest.mark.parametrize('table', [MONITOR, MULTI_CAMERA], ids=['monitor', 'multi_camera'])
def test_empty_arguments_say_nothing(table: tuple[LaunchArgument, ...]) -> None:
    assert monitor_options(table, _given(table)) == {}


@pytest.mark.parametrize('image', [None, '', 'image'])
def test_an_empty_topic_of_the_camera_remaps_nothing(image: str | None) -> None:
    assert launching.image_remapping(image) == []


def test_arguments_become_typed_options() -> None:
    given = _given(
        MULTI_CAMERA,
        bundle='2024',
        transport='compressed',
        autostart='False',
        use_sim_time='true',
        topics='[/front/image_raw, "/rear/image_raw"]',
        cameras='[on, 1]',
    )
    assert monitor_options(MULTI_CAMERA, given) == {
        'bundle': '2024',
        'transport': 'compressed',
        'autostart': False,
        'use_sim_time': True,
        'topics': ['/front/image_raw', '/rear/image_raw'],
        'cameras': ['on', '1'],
    }


def test_what_another_launch_file_has_set_is_not_read() -> None:
    given = {**_given(MONITOR, image='/eye'), 'topics': '[/a, /b]', 'cameras': 'no list'}
    assert monitor_options(MONITOR, given) == {'image': '/eye'}


def test_switch_that_is_neither_true_nor_false_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match="'autostart' must be true or false, got 'maybe'"):
        monitor_options(MONITOR, _given(MONITOR, autostart='maybe'))


@pytest.mark.parametrize('text', ['/front', '[]', '[[a], b]', '{a: b}', '[a, ""]', '[a', 'a, b'])
def test_list_that_is_no_list_of_words_is_refused_by_name(text: str) -> None:
    with pytest.raises(ParameterError, match=r"'topics' must be a YAML list such as '\[front, re"):
        launch_arguments.names('topics', text)


# where launch is installed --------------------------------------------------------------------


def _description(path: Path) -> Any:
    pytest.importorskip('launch_ros', reason='launch is not on this machine')
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    return get_launch_description_from_python_launch_file(str(path))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_launch_reads_the_file_and_finds_the_arguments(path: Path) -> None:
    description = _description(path)
    found = [argument.name for argument in description.get_launch_arguments()]
    assert found == [argument.name for argument in TABLES[path.name]]
