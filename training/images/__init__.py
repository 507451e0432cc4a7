"""Training of a small image encoder of our own, for places without a model hub."""
