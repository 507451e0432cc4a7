"""Translators: linear maps from features of a frozen backbone to the space of texts."""
