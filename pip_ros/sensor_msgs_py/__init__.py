"""Stand-in for the ROS package sensor_msgs_py where ROS is not installed from apt.

The real one: https://github.com/ros2/common_interfaces/tree/jazzy/sensor_msgs_py.
"""
