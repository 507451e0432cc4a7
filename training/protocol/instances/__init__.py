"""The instance probe: objects from frozen features, as PointGroup finds them."""
