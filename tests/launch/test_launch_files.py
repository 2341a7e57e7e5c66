"""Launch files without running them: ``launch`` is not installable where these tests must pass."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from ros_ood_monitor.ros import launching
from ros_ood_monitor.ros.parameters import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))


def _calls(path: Path, name: str) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == name
    ]


def _arguments(path: Path) -> dict[str, dict[str, ast.expr]]:
    """Return the keywords of every declared argument, including those of included files."""
    found: dict[str, dict[str, ast.expr]] = {}
    for call in _calls(path, 'shared'):
        parts = [ast.literal_eval(arg) for arg in call.args]
        if parts[0] == 'launch':
            found |= _arguments(ROOT.joinpath(*parts))
    for call in _calls(path, 'DeclareLaunchArgument'):
        found[ast.literal_eval(call.args[0])] = {str(k.arg): k.value for k in call.keywords}
    return found


def test_the_two_launch_files_are_there() -> None:
    assert [path.name for path in FILES] == ['monitor.launch.py', 'replay.launch.py']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_has_a_sentence_of_description(path: Path) -> None:
    assert _calls(path, 'DeclareLaunchArgument')
    for name, keywords in _arguments(path).items():
        text = ast.literal_eval(keywords['description'])
        assert text[0].isupper(), name
        assert text.endswith('.'), name


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_shared_file_that_is_named_exists(path: Path) -> None:
    calls = _calls(path, 'shared')
    assert calls
    for call in calls:
        assert ROOT.joinpath(*[ast.literal_eval(arg) for arg in call.args]).is_file()


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_launch_files_only_declare_and_include(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions] == ['generate_launch_description']
    (function,) = functions
    kinds = {type(statement) for statement in function.body}
    assert kinds <= {ast.Expr, ast.Return}, 'a launch file holds no logic'
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('ros_ood'):
            for alias in node.names:
                assert hasattr(launching, alias.name)


def _read_by(*functions: str) -> set[str]:
    """Return the launch arguments that functions of launching.py look up."""
    tree = ast.parse(Path(launching.__file__).read_text(encoding='utf-8'))
    return {
        ast.literal_eval(node.slice)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Subscript)
        and getattr(node.value, 'id', '') == 'given'
        and isinstance(node.slice, ast.Constant)
    }


def test_every_argument_that_is_read_is_declared_and_the_other_way_round() -> None:
    monitor = _read_by('_monitor') | set(launching._OVERRIDES)
    assert monitor == set(_arguments(ROOT / 'launch' / 'monitor.launch.py'))
    player = _read_by('_player', '_set_transport')
    assert monitor | player == set(_arguments(ROOT / 'launch' / 'replay.launch.py'))


def test_arguments_set_parameters_that_exist() -> None:
    known = {spec.name for spec in PARAMETERS} | {'use_sim_time'}
    assert set(launching._OVERRIDES.values()) <= known


def test_choices_of_an_argument_are_those_of_its_parameter() -> None:
    specs = {spec.name: spec for spec in PARAMETERS}
    for name, keywords in _arguments(ROOT / 'launch' / 'monitor.launch.py').items():
        parameter = specs.get(launching._OVERRIDES.get(name, ''))
        if 'choices' in keywords and parameter is not None:
            assert ast.literal_eval(keywords['choices']) == ['', *parameter.choices]


def test_executable_is_a_command_of_the_package() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert f'{launching.EXECUTABLE} = ros_ood_monitor.ros.main:main' in setup
    assert f'<name>{launching.PACKAGE}</name>' in (ROOT / 'package.xml').read_text('utf-8')


def _given(**changes: str) -> dict[str, str]:
    return {**dict.fromkeys(launching._OVERRIDES, ''), **changes}


def test_empty_arguments_leave_everything_to_the_parameter_file() -> None:
    assert launching.node_overrides(_given()) == {}


def test_arguments_become_typed_parameters() -> None:
    given = _given(bundle='/b', transport='compressed', autostart='False', use_sim_time='true')
    assert launching.node_overrides(given) == {
        'model.bundle': '/b',
        'input.transport': 'compressed',
        'autostart': False,
        'use_sim_time': True,
    }


def test_switch_that_is_neither_true_nor_false_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'autostart' must be true or false, got 'maybe'"):
        launching.node_overrides(_given(autostart='maybe'))


# where launch is installed --------------------------------------------------------------------


def _description(path: Path) -> Any:
    pytest.importorskip('launch_ros', reason='launch is not on this machine')
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    return get_launch_description_from_python_launch_file(str(path))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_launch_reads_the_file_and_finds_the_arguments(path: Path) -> None:
    description = _description(path)
    found = {argument.name for argument in description.get_launch_arguments()}
    assert found == set(_arguments(path))
