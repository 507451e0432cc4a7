"""Scenes on disk in the layout of the published archives, read as samples."""
