"""What pretraining costs, by published size: bytes and operations per point of a view.

`python -m bench.training_cost` prints the table of training/README.md. Operations are counted by
torch, bytes are those that the forward pass keeps for the backward pass; both on a CPU, on parts
of a synthetic room, so that no GPU is needed to plan for one.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.indoor_cloud import indoor_points
from concerto_ros.model import PointTransformerV3, precision
from training.backbone_sizes import backbone_config
from training.config import BackboneSection, DistillationConfig

NUM_POINTS = 16384
# Points of a scene's views per step (published): two global ones, the second 70 % on average,
# and four local ones of 25 %; the student reads all of them, the teacher the global ones.
STUDENT, TEACHER = 65536 * (1 + 0.7 + 4 * 0.25), 65536 * 1.7
BYTES_PER_PARAMETER = 4 + 4 + 8 + 4  # weight, gradient, AdamW, teacher


def main() -> None:
    """Print one row per size."""
    print('| size | parameters | state | kept per 1k points | scene, kept | scene, TFLOP |')
    print('|---|---|---|---|---|---|')
    for size in ('nano', 'tiny', 'small', 'base', 'large'):
        print(row(size))


def row(size: str) -> str:
    """Return the row of one size."""
    config = backbone_config(BackboneSection(size=size, drop_path=0.0))
    model = PointTransformerV3(config).train()
    points = indoor_points(NUM_POINTS)
    kept: dict[int, int] = {}
    parameters = {p.data_ptr() for p in model.parameters()}

    def pack(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)
    counter = FlopCounterMode(display=False)
    with hooks, counter, precision('bf16', torch.device('cpu')):
        pyramid = model(points)
    flops = counter.get_total_flops() / NUM_POINTS
    per_point = sum(kept.values()) / NUM_POINTS
    del pyramid
    num = sum(p.numel() for p in model.parameters()) + heads(config.enc_channels)
    return (
        f'| {size} | {num / 1e6:.1f} M | {num * BYTES_PER_PARAMETER / 1e9:.1f} GB '
        f'| {per_point * 1e3 / 1e6:.0f} MB | {per_point * STUDENT / 1e9:.1f} GB '
        f'| {flops * (3 * STUDENT + TEACHER) / 1e12:.2f} |'
    )


def heads(channels: tuple[int, ...]) -> int:
    """Return the parameters of the two heads of the student."""
    d = DistillationConfig()
    width = sum(channels[-1 - d.up_cast_level :])
    return 2 * ((width + 1) * d.hidden + (d.hidden + 1) * d.embed + d.embed * d.prototypes)


if __name__ == '__main__':
    main()
