"""Nodes and what they are made of; the only place where ROS is imported.

    ros2 run concerto_ros perception_node --ros-args --params-file config/concerto.yaml

`camera_input` turns topics into frames, `worker` hands the newest to the one thread that owns the
map, `map_publisher` sends out what it found; `perception_node` wires them.
"""

import os

# Read when torch is loaded. Its threads otherwise spin for cores that camera drivers need, and one
# frame takes ten times as long on a busy machine.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
