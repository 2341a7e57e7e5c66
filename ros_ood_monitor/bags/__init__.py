"""Rosbag2 without ROS: read frames, write evidence."""

from __future__ import annotations

from ros_ood_monitor.bags.read import BagReader, PendingFrame, SkippedFrame, TopicInfo
from ros_ood_monitor.bags.write import BagWriter

__all__ = ['BagReader', 'BagWriter', 'PendingFrame', 'SkippedFrame', 'TopicInfo']
