"""Offline pretraining and probing of the backbone; run from a checkout, never installed.

python -m training.prepare rooms --seeds 0:200 -o data/rooms   # scenes in the published layout
python -m training.pretrain config/training/joint.yaml         # student and teacher
python -m training.export runs/joint -o backbone.safetensors   # what the node loads
python -m training.probe config/training/probe.yaml            # how good the features are
"""
