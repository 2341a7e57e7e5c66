"""The monitor behind the node: opened, proven, and changed to a better engine."""
