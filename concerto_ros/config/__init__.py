"""One tree of frozen dataclasses, from which ROS parameters, YAML and CLI options follow."""
