"""Recordings in, frames out, without ROS.

    with open_source('recording.mcap') as source:
        for frame in source:
            voxel_map.integrate(frame)
    print(source.dropped)

`open_source` is in `concerto_ros.io.frame_source`. Images, calibration, pairing and assembly are
pure functions on plain values, so that the ROS node makes the same frames of the same messages.
"""
