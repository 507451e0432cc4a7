"""Synthetic indoor rooms: furniture from a seed, RGB-D frames of a walk, and their truth.

Example:
    room = SyntheticRoom(seed=7, kind='office')
    frames = room.frames(num_frames=50)
    for index, frame in enumerate(frames):  # RGBDFrame, as from a recording
        truth = frames.frame_truth(index)  # exact depth, class and instance images
    cloud = room.cloud(spacing=0.02)  # labelled surface points
"""
