r"""Start the perception node.

Example, for a RealSense camera:

    ros2 launch concerto_ros perception.launch.py \
        color_image:=/camera/camera/color/image_raw color_info:=/camera/camera/color/camera_info \
        depth_image:=/camera/camera/aligned_depth_to_color/image_raw \
        depth_info:=/camera/camera/aligned_depth_to_color/camera_info
"""

from __future__ import annotations

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    PathJoinSubstitution,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PACKAGE = 'concerto_ros'

TOPICS = {
    'color_image': 'color/image',
    'color_info': 'color/camera_info',
    'depth_image': 'depth/image',
    'depth_info': 'depth/camera_info',
    'pose_graph': 'pose_graph',
}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node; everything else is a parameter of params_file."""
    return LaunchDescription([*arguments(), perception_node()])


def arguments() -> list[DeclareLaunchArgument]:
    """List what can be set from the command line."""
    return [
        DeclareLaunchArgument(
            'params_file',
            default_value=config_file('concerto.yaml'),
            description='YAML file with the parameters of the node',
        ),
        DeclareLaunchArgument(
            'namespace',
            default_value='',
            description='Namespace of the node, its topics, services and tf',
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            choices=['true', 'false'],
            description='Take the time from /clock, for simulators and recordings',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='Least severity that is logged',
        ),
        *(
            DeclareLaunchArgument(name, default_value=topic, description=f'Topic of {topic}')
            for name, topic in TOPICS.items()
        ),
    ]


def perception_node() -> Node:
    """Describe the node and the environment it runs in."""
    use_sim_time = ParameterValue(LaunchConfiguration('use_sim_time'), value_type=bool)
    return Node(
        package=PACKAGE,
        executable='perception_node',
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            LaunchConfiguration('params_file'),
            {'use_sim_time': use_sim_time},
        ],
        # relative tf topics follow the namespace, so that several robots keep apart
        remappings=[
            ('/tf', 'tf'),
            ('/tf_static', 'tf_static'),
            *((topic, LaunchConfiguration(name)) for name, topic in TOPICS.items()),
        ],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        additional_env={
            'FASTRTPS_DEFAULT_PROFILES_FILE': unless_set(
                'FASTRTPS_DEFAULT_PROFILES_FILE', config_file('fastdds_shm.xml')
            ),
            # glibc then keeps the memory of large messages; page faults cost more than the copy
            'MALLOC_MMAP_THRESHOLD_': unless_set('MALLOC_MMAP_THRESHOLD_', '1000000000'),
            'MALLOC_TRIM_THRESHOLD_': unless_set('MALLOC_TRIM_THRESHOLD_', '2000000000'),
        },
        output='screen',
    )


def config_file(name: str) -> PathJoinSubstitution:
    """Name a file of the folder config/ as it is installed."""
    return PathJoinSubstitution([FindPackageShare(PACKAGE), 'config', name])


def unless_set(name: str, value: str | PathJoinSubstitution) -> EnvironmentVariable:
    """Keep an environment variable as it is where it is set, else give it a value."""
    return EnvironmentVariable(name, default_value=value)
