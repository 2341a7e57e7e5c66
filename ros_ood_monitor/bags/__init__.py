"""Rosbag2 without ROS: read frames, write evidence."""

from __future__ import annotations

from ros_ood_monitor.bags.messages import TopicInfo
from ros_ood_monitor.bags.pending import PendingFrame
from ros_ood_monitor.bags.read import BagReader, SkippedFrame
from ros_ood_monitor.bags.write import BagWriter

__all__ = ['BagReader', 'BagWriter', 'PendingFrame', 'SkippedFrame', 'TopicInfo']
