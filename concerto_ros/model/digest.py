"""Which weights these are, so that what was trained on their features can name them."""

import hashlib

import torch

from concerto_ros.model.ptv3 import PointTransformerV3

_ENCODER = ('embedding.', 'enc.')  # names in the published format; features need no more


def weights_digest(model: PointTransformerV3) -> str:
    """Return 16 hexadecimal digits that differ for other weights of the encoder.

    The format of the file, the device and a decoder do not count; rounding does: weights that
    were stored in half precision are others than those they were rounded from.
    """
    digest = hashlib.blake2b(digest_size=8)
    tensors = model.state_dict()
    for name in sorted(name for name in tensors if name.startswith(_ENCODER)):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
