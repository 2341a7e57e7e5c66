"""The example of a robot's own package names files, executables and arguments that exist."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import inspect
from pathlib import Path
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from ros_ood_monitor.ros import launching
from ros_ood_monitor.ros.launching.arguments import MONITOR, MULTI_CAMERA, REPLAY
from ros_ood_monitor.ros.parameters.table import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / 'docs' / 'examples' / 'robot_bringup'
LAUNCH = EXAMPLE / 'launch'
DECLARED = {
    f'{name}.launch.py': {argument.name for argument in table}
    for name, table in {
        'monitor': MONITOR,
        'multi_camera': MULTI_CAMERA,
        'replay': REPLAY,
    }.items()
}
MARKDOWN = [ROOT / 'README.md', *ROOT.glob('docs/**/*.md')]
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
FIND = r'\$\(find-pkg-share (\w+)\)/([\w/.]+)'


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in what a YAML file holds."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def xml_includes(text: str) -> Iterator[tuple[str, set[str]]]:
    for include in ET.fromstring(text).iter('include'):
        yield str(include.get('file')), {str(arg.get('name')) for arg in include.iter('arg')}


def yaml_includes(text: str) -> Iterator[tuple[str, set[str]]]:
    for node in walk(yaml.safe_load(text)):
        if isinstance(include := node.get('include'), dict):
            yield include['file'], {arg['name'] for arg in include['arg']}


def python_includes(text: str) -> Iterator[tuple[str, set[str]]]:
    for call in ast.walk(ast.parse(text)):
        if getattr(getattr(call, 'func', None), 'id', '') != 'IncludeLaunchDescription':
            continue
        words = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant)]
        (file,) = (word for word in words if str(word).endswith('.launch.py'))
        arguments = {
            ast.literal_eval(key)
            for node in ast.walk(call)
            if isinstance(node, ast.Dict)
            for key in node.keys
            if key is not None
        }
        yield f'launch/{file}', arguments


READERS = {'.xml': xml_includes, '.yaml': yaml_includes, '.py': python_includes}


def snippets() -> Iterator[tuple[str, str, str]]:
    """Yield (where, suffix, text) of every launch file in the example and in the docs."""
    for path in sorted(LAUNCH.iterdir()):
        if path.is_file():
            yield path.name, path.suffix, path.read_text(encoding='utf-8')
    for path in MARKDOWN:
        blocks = re.findall(r'```(xml|yaml|python)\n(.*?)```', path.read_text('utf-8'), re.DOTALL)
        for number, (language, text) in enumerate(blocks):
            if 'ros_ood_monitor' in text:
                suffix = '.py' if language == 'python' else f'.{language}'
                yield f'{path.name}:{number}', suffix, text


SNIPPETS = {where: (suffix, text) for where, suffix, text in snippets()}


@pytest.mark.parametrize('where', SNIPPETS)
def test_every_include_of_ours_exists_and_takes_these_arguments(where: str) -> None:
    suffix, text = SNIPPETS[where]
    for file, arguments in READERS[suffix](text):
        name = Path(file).name
        assert (ROOT / 'launch' / name).is_file()
        assert arguments <= DECLARED[name]


@pytest.mark.parametrize('where', SNIPPETS)
def test_every_shared_file_that_is_named_exists(where: str) -> None:
    homes = {'ros_ood_monitor': ROOT, 'robot_bringup': EXAMPLE}
    for package, path in re.findall(FIND, SNIPPETS[where][1]):
        assert (homes[package] / path).is_file()


@pytest.mark.parametrize('where', [w for w in SNIPPETS if SNIPPETS[w][0] == '.py'])
def test_every_function_of_ours_exists_and_takes_these_keywords(where: str) -> None:
    tree = ast.parse(SNIPPETS[where][1])
    ours = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == launching.__name__
        for alias in node.names
    }
    assert ours <= set(launching.__all__)
    for call in ast.walk(tree):
        name = getattr(getattr(call, 'func', None), 'id', '')
        if isinstance(call, ast.Call) and name in ours:
            allowed = inspect.signature(getattr(launching, name)).parameters
            used = {str(keyword.arg) for keyword in call.keywords}
            assert used <= {*allowed, 'respawn', 'condition'}


def test_the_table_of_actions_names_what_there_is() -> None:
    text = (ROOT / 'docs' / 'launch.md').read_text('utf-8')
    rows = [line for line in text.splitlines() if line.startswith('| `') and '(' in line]
    named = {name for row in rows for name in re.findall(r'`(\w+)\(', row.split('|')[1])}
    assert 'profile_environment' in named
    assert named <= set(launching.__all__)


def settings_of_the_environment(suffix: str) -> list[tuple[str, str]]:
    text = (LAUNCH / f'bringup.launch{suffix}').read_text('utf-8')
    if suffix == '.xml':
        elements = ET.fromstring(text).iter('set_env')
        return [(str(e.get('name')), str(e.get('value'))) for e in elements]
    actions = [node['set_env'] for node in walk(yaml.safe_load(text)) if 'set_env' in node]
    return [(action['name'], action['value']) for action in actions]


def expanded(text: str, environment: dict[str, str]) -> str:
    """Return a text with its substitutions made as launch makes them, the innermost ones first."""
    while found := re.search(r'\$\((env|find-pkg-share) ([^ $()]+)(?: ([^ $()]+))?\)', text):
        kind, name, default = found.groups()
        value = f'/{name}' if kind == 'find-pkg-share' else environment.get(name, default)
        assert value is not None, f'launch ends here: {found[0]}'
        text = text.replace(found[0], value)
    return text


@pytest.mark.parametrize('suffix', ['.xml', '.yaml'])
@pytest.mark.parametrize('theirs', [(), VARIABLES[:1], VARIABLES[1:], VARIABLES])
def test_cameras_have_our_profile_unless_there_is_one_under_either_name(
    suffix: str, theirs: tuple[str, ...]
) -> None:
    environment = {name: f'/theirs/{name}' for name in theirs}
    wanted = [f'/theirs/{name}' for name in theirs] or ['/ros_ood_monitor/config/fastdds.xml']
    settings = settings_of_the_environment(suffix)
    assert {name for name, _ in settings} == {*VARIABLES}
    for name, value in settings:
        environment[name] = expanded(value, environment)
    assert [environment[name] for name in VARIABLES] == [wanted[0], wanted[-1]]


def test_includes_are_shown_in_all_three_languages() -> None:
    found = {suffix for suffix, text in SNIPPETS.values() if list(READERS[suffix](text))}
    assert found == {'.py', '.xml', '.yaml'}


def test_the_parameter_file_holds_parameters_of_the_node() -> None:
    known = {spec.name for spec in PARAMETERS}
    rooms = yaml.safe_load((EXAMPLE / 'config/monitor.param.yaml').read_text('utf-8'))
    names = {
        f'{group}.{name}'
        for group, members in rooms['/**']['ros__parameters'].items()
        for name in members
    }
    assert names
    assert names <= known


def test_package_xml_names_what_the_launch_files_use() -> None:
    xml = ET.parse(EXAMPLE / 'package.xml').getroot()
    depends = {element.text for element in xml if element.tag.endswith('depend')}
    text = ''.join(path.read_text('utf-8') for path in LAUNCH.iterdir() if path.is_file())
    used = set(re.findall(r"package='(\w+)'|pkg=\"(\w+)\"|pkg: (\w+)", text))
    assert {name for names in used for name in names if name} <= depends
    assert {'ros_ood_monitor', 'launch_xml', 'launch_yaml'} <= depends
    assert (EXAMPLE / 'resource' / str(xml.findtext('name'))).is_file()


def test_package_xml_passes_catkins_own_parser() -> None:
    package = pytest.importorskip('catkin_pkg.package', reason='colcon is not installed')
    warnings: list[str] = []
    assert package.parse_package(str(EXAMPLE), warnings=warnings).name == 'robot_bringup'
    assert warnings == []


def test_setup_py_installs_every_file(monkeypatch: pytest.MonkeyPatch) -> None:
    setuptools = pytest.importorskip('setuptools')
    monkeypatch.chdir(EXAMPLE)
    setup = setuptools.distutils.core.run_setup('setup.py', stop_after='init')
    xml = ET.parse(EXAMPLE / 'package.xml').getroot()
    assert (setup.get_name(), setup.get_version()) == (
        xml.findtext('name'),
        xml.findtext('version'),
    )
    installed = {file for _, files in setup.data_files for file in files}
    there = {
        str(path.relative_to(EXAMPLE))
        for folder in ('launch', 'config', 'resource')
        for path in (EXAMPLE / folder).iterdir()
        if path.is_file()
    }
    assert installed == there | {'package.xml'}
