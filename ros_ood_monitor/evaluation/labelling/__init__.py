"""Marking what is foreign in a bag: a page on loopback, and the file that `evaluate` reads."""

from ros_ood_monitor.evaluation.labelling.label_file import LabelFile
from ros_ood_monitor.evaluation.labelling.recording import read_recording, Recording
from ros_ood_monitor.evaluation.labelling.server import LabelServer

__all__ = ['LabelFile', 'LabelServer', 'Recording', 'read_recording']
