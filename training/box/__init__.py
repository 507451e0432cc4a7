"""From seeds to the model that comes with the package."""
