"""What an import costs: a robot and a newcomer without torch or ROS pay only for what they use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re
import subprocess
import sys

import pytest

import ros_ood_monitor
from ros_ood_monitor.cli.main import VERBS

PACKAGE = Path(ros_ood_monitor.__file__).parent
HEAVY = {
    *('matplotlib', 'pyarrow', 'pyvista', 'scipy', 'sklearn', 'vtk'),
    *('nflows', 'onnx', 'onnxruntime', 'tensorrt', 'timm', 'torch', 'torchvision'),
    *('mcap', 'rclpy', 'rosbags'),
}
LOADED = 'import sys; print("loaded:", *sorted({name.split(".")[0] for name in sys.modules}))'

OFFLINE_ROOMS = {'cli', 'evaluation', 'lunar', 'ros', 'training', 'replay', 'recorder'}
"""The rooms above the monitor, which may use more than the robot has."""
ROBOT = {'cv2', 'numpy', 'yaml', 'ros_ood_monitor'}
EXTRA_OF_ROOM = {
    'engines': {'onnxruntime', 'tensorrt', 'tensorrt_rtx', 'cuda'},
    'bags': {'mcap', 'rosbags', 'zstandard'},
    'shards': {'ray'},
    'share': {'ament_index_python'},
}


def test_importing_the_package_prints_nothing_and_loads_numpy_at_most() -> None:
    done = fresh(f'import ros_ood_monitor; {LOADED}')
    assert done.stderr == ''
    assert len(done.stdout.splitlines()) == 1
    assert third_party(done.stdout) <= {'numpy'}


def test_help_loads_nothing_heavy() -> None:
    code = f"""
import sys
from ros_ood_monitor.cli.main import main
try:
    main(['--help'])
except SystemExit as stop:
    assert stop.code == 0, stop.code
{LOADED}"""
    done = fresh(code)
    assert done.stderr == ''
    for verb in VERBS:
        assert re.search(rf'^ +{verb}\b', done.stdout, re.MULTILINE), verb
    assert not loaded(done.stdout) & HEAVY


def test_observing_needs_no_torch_ros_plot_or_bag_library() -> None:
    done = fresh(f'from ros_ood_monitor import Bundle, Monitor; {LOADED}')
    assert not loaded(done.stdout) & HEAVY


def test_monitor_and_below_import_numpy_opencv_and_yaml_only() -> None:
    strangers = []
    for path in sorted(PACKAGE.rglob('*.py')):
        room = path.relative_to(PACKAGE).parts[0].removesuffix('.py')
        if room in OFFLINE_ROOMS or path.name == '__main__.py':
            continue
        allowed = ROBOT | EXTRA_OF_ROOM.get(room, set()) | sys.stdlib_module_names
        strangers += [
            f'{path.relative_to(PACKAGE)}: {name}'
            for name in imported_names(path)
            if name not in allowed
        ]
    assert strangers == []


def test_every_public_name_is_importable() -> None:
    for name in ros_ood_monitor.__all__:
        assert getattr(ros_ood_monitor, name).__name__ == name
    assert sorted(ros_ood_monitor.__all__) == ros_ood_monitor.__all__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match='no attribute'):
        _ = ros_ood_monitor.no_such_name


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own, which has loaded nothing yet."""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done


def loaded(output: str) -> set[str]:
    """Return the top-level modules named in the last line."""
    label, *names = output.splitlines()[-1].split()
    assert label == 'loaded:'
    return set(names)


def third_party(output: str) -> set[str]:
    """Return what is loaded beyond the standard library, the package and what site loads."""
    bare = fresh(LOADED).stdout
    return loaded(output) - loaded(bare) - sys.stdlib_module_names - {'ros_ood_monitor'}


def imported_names(path: Path) -> Iterator[str]:
    """Yield the top-level names of all imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split('.')[0]
