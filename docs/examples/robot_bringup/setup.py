"""An ament_python package that holds launch files and parameters only."""

from pathlib import Path

from setuptools import setup

PACKAGE = 'robot_bringup'


def files(pattern: str) -> list[str]:
    """Return the files to install, as data_files wants them."""
    return [str(path) for path in sorted(Path().glob(pattern))]


setup(
    name=PACKAGE,
    version='0.1.0',
    description='Example: a robot with two cameras that includes the monitor in its launch files',
    license='Apache-2.0',
    maintainer='ros_ood_monitor maintainers',
    maintainer_email='maintainers@ros-ood-monitor.example',
    packages=[PACKAGE],
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', files('launch/*.launch.*')),
        (f'share/{PACKAGE}/config', files('config/*.yaml')),
    ],
    zip_safe=False,
)
