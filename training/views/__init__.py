"""From a scene to the augmented views that student and teacher see."""
