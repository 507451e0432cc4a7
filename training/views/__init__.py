"""From a scene to the augmented views that student and teacher see.

views = make_views(sample, config, np.random.default_rng([seed, 2, index]))
batch = collate([(slot, views, ())], config.data.voxel_size)

Within this folder a quantity of a cloud is three planes, (3, N): numpy works on a few long rows
several times as fast as on many short ones. Values that leave it are (N, 3).
"""
