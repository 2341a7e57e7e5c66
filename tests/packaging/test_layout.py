"""pip and colcon install the same commands and the same shared files, and both start."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import shlex
import shutil
import site
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = 'ros_ood_monitor'
WRAPPER = Path('lib', PACKAGE, 'ood_monitor_node')

# 70.1 is the first that builds a wheel without help
pytest.importorskip('setuptools', minversion='70.1')


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what is built, so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp('source') / PACKAGE
    copy.mkdir()
    for name in ('setup.py', 'package.xml', 'LICENSE', 'README.md', 'pyproject.toml'):
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, copy)
    for name in ('ros_ood_monitor', 'resource', 'launch', 'config', 'models'):
        shutil.copytree(ROOT / name, copy / name)
    # what an editor or a run may leave there must not break the build
    (copy / 'launch/__pycache__').mkdir(exist_ok=True)
    (copy / 'launch/__pycache__/monitor.launch.cpython-311.pyc').touch()
    return copy


@pytest.fixture(scope='module')
def pip_prefix(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install with pip into an environment of its own, which borrows this one's packages."""
    prefix = tmp_path_factory.mktemp('pip')
    run([sys.executable, '-m', 'venv', '--without-pip', prefix])
    python = prefix / 'bin/python'
    here = run([python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'])
    Path(here.strip(), 'borrowed.pth').write_text('\n'.join(site.getsitepackages()))
    run([
        *(sys.executable, '-m', 'pip', '--python', python, 'install', '--no-index', '--no-deps'),
        *('--no-build-isolation', '--ignore-installed', '--quiet', source),
    ])  # fmt: skip
    return prefix


@pytest.fixture(scope='module', params=['copied', 'symlinked'])
def colcon_prefix(
    request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Build with colcon, as in a workspace on a robot."""
    colcon = shutil.which('colcon', path=os.pathsep.join([str(Path(sys.executable).parent), PATH]))
    if colcon is None:
        pytest.skip('colcon is not installed')
    workspace = tmp_path_factory.mktemp(request.param)
    shutil.copytree(source, workspace / 'src' / PACKAGE)
    symlink = ['--symlink-install'] if request.param == 'symlinked' else []
    run([colcon, '--log-base', workspace / 'log', 'build', *symlink], cwd=workspace)
    return workspace / 'install' / PACKAGE


PATH = os.environ.get('PATH', '')


def test_pip_installs_every_file_of_the_package(pip_prefix: Path) -> None:
    (installed,) = pip_prefix.glob(f'lib/python*/site-packages/{PACKAGE}')

    def files(folder: Path) -> set[Path]:
        found = (path.relative_to(folder) for path in folder.rglob('*') if path.is_file())
        return {path for path in found if '__pycache__' not in path.parts}

    assert files(installed) == files(ROOT / PACKAGE)


def test_pip_installs_every_shared_file(pip_prefix: Path) -> None:
    assert shared_files(pip_prefix) == expected_files()


def test_colcon_installs_every_shared_file(colcon_prefix: Path) -> None:
    assert shared_files(colcon_prefix) == expected_files()


def test_pip_gives_the_command(pip_prefix: Path) -> None:
    assert run([pip_prefix / 'bin/ood_monitor', '--version']).startswith('ood_monitor ')
    assert 'usage: ood_monitor' in run([pip_prefix / 'bin/ood_monitor', '--help'])


def test_colcon_gives_the_command(colcon_prefix: Path) -> None:
    assert 'usage: ood_monitor' in in_workspace(colcon_prefix, 'ood_monitor --help')
    where = in_workspace(colcon_prefix, 'command -v ood_monitor').strip()
    assert Path(where) == colcon_prefix / 'bin/ood_monitor'


def test_ros2_run_finds_the_node_that_pip_installed(pip_prefix: Path) -> None:
    assert_node_starts(pip_prefix, lambda command: run(command, expect=1))


def test_ros2_run_finds_the_node_that_colcon_installed(colcon_prefix: Path) -> None:
    assert_node_starts(
        colcon_prefix, lambda command: in_workspace(colcon_prefix, shlex.join(command), expect=1)
    )


def test_code_and_shared_files_of_pip_belong_together(pip_prefix: Path) -> None:
    assert_finds_share(pip_prefix, lambda code: run([pip_prefix / 'bin/python', '-c', code]))


def test_code_and_shared_files_of_colcon_belong_together(colcon_prefix: Path) -> None:
    assert_finds_share(
        colcon_prefix,
        lambda code: in_workspace(colcon_prefix, shlex.join([sys.executable, '-c', code])),
    )


def test_ament_index_knows_the_package(pip_prefix: Path) -> None:
    pytest.importorskip('ament_index_python', reason='ROS is not installed')
    code = f"""
from ament_index_python.packages import get_package_share_directory
print(get_package_share_directory('{PACKAGE}'))"""
    found = run(
        [pip_prefix / 'bin/python', '-c', code], AMENT_PREFIX_PATH=str(pip_prefix), PYTHONPATH=''
    )
    assert Path(found.strip()) == pip_prefix / 'share' / PACKAGE


def assert_node_starts(prefix: Path, start: Callable[[list[str]], str]) -> None:
    """Start the node as `ros2 run` does, with a value it refuses at once."""
    pytest.importorskip('rclpy', reason='ROS is not installed')
    wrapper = prefix / WRAPPER
    assert os.access(wrapper, os.X_OK)
    said = start([str(wrapper), '--ros-args', '-p', 'alert.trigger_frames:=-1'])
    assert "ood_monitor_node: error: parameter 'alert.trigger_frames'" in said


def assert_finds_share(prefix: Path, python: Callable[[str], str]) -> None:
    """Check that the installed code finds the shared files of its own prefix."""
    code = f'from {PACKAGE}.share import share_path; print(share_path("package.xml"))'
    assert Path(python(code).strip()) == prefix / 'share' / PACKAGE / 'package.xml'


def expected_files() -> set[str]:
    """Return the shared files that the checkout holds, as paths in a prefix."""
    share = Path('share', PACKAGE)
    files = {
        str(share / path.relative_to(ROOT))
        for pattern in ('launch/*.launch.py', 'config/**/*', 'models/README.md', 'models/*/*')
        for path in ROOT.glob(pattern)
        if path.is_file() and '__pycache__' not in path.parts
    }
    marker = f'share/ament_index/resource_index/packages/{PACKAGE}'
    return files | {marker, str(share / 'package.xml'), str(WRAPPER)}


def shared_files(prefix: Path) -> set[str]:
    """Return the files that are there, without what colcon and Python add for themselves."""
    return {
        str(path.relative_to(prefix))
        for folder in ('share/ament_index', f'share/{PACKAGE}', f'lib/{PACKAGE}')
        for path in (prefix / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts and not of_colcon(path)
    }


def of_colcon(path: Path) -> bool:
    return path.parent.name in {'hook', 'environment'} or (
        path.name.startswith('package.') and (path.suffix != '.xml')
    )


def run(
    command: list[str | Path], *, expect: int = 0, cwd: Path | None = None, **variables: str
) -> str:
    """Run a command away from the checkout and return what it said."""
    clean = {name: value for name, value in os.environ.items() if name not in ROS_VARIABLES}
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd or '/',
        env={**clean, **variables},
    )
    assert done.returncode == expect, done.stdout
    return done.stdout


ROS_VARIABLES = {'AMENT_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'PYTHONPATH', 'PYTEST_CURRENT_TEST'}
"""What a sourced workspace sets; the tests see only what they install."""


def in_workspace(prefix: Path, command: str, *, expect: int = 0) -> str:
    """Run a shell command where the workspace is sourced."""
    setup = shlex.quote(str(prefix.parent / 'setup.bash'))
    return run(['bash', '-c', f'source {setup} && {command}'], expect=expect)
