"""The only room that knows ROS."""
