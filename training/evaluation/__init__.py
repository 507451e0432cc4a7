"""Probes: how good frozen or fine-tuned features are on labelled scenes."""
