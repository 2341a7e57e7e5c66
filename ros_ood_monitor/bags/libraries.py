"""The libraries that read and write bags, which are installed only where they are wanted."""

from __future__ import annotations

from ros_ood_monitor.errors import BagError
from ros_ood_monitor.packages import import_problem

__all__ = ['require_libraries']


def require_libraries() -> None:
    """
    Fail early, and with the way out, where the bag libraries are not installed.

    Raises
    ------
    BagError
        If ``rosbags``, ``mcap`` or ``zstandard`` cannot be imported.

    """
    try:
        import mcap  # noqa: F401
        import rosbags.rosbag2  # noqa: F401
        import zstandard  # noqa: F401
    except ImportError as error:
        needed = import_problem(error, 'mcap', 'rosbags', 'zstandard')
        msg = f'reading and writing bags needs {needed}'
        raise BagError(msg) from error
