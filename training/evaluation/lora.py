"""LoRA: low-rank changes to the queries, keys and values of an encoder, by peft.

adapted = add_lora(backbone, config)   # train it
backbone = merge_lora(adapted)         # as any other backbone, with changed weights
"""

from typing import Any

import torch
from torch import nn

from concerto_ros.errors import BackendUnavailable
from concerto_ros.model import PointTransformerV3
from concerto_ros.torchvision_beside_cpu import declare_operators
from training.evaluation.config import LoraSection

_TARGETS = r'enc\..*\.attn\.qkv'


def add_lora(backbone: PointTransformerV3, config: LoraSection, seed: int) -> nn.Module:
    """Freeze a backbone and add what learns to it, in place.

    Args:
        backbone: Without decoder.
        config: Rank, scale, dropout.
        seed: Of the new weights; leaves the global generator alone.

    Returns:
        The backbone in the wrapping of peft; called as before.

    Raises:
        BackendUnavailable: peft is not installed.

    Source: Hu et al., LoRA, arXiv 2106.09685; ranks as in the published configuration.
    """
    peft = _load_peft()
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        bias='none',
        target_modules=_TARGETS,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted: nn.Module = peft.get_peft_model(backbone, settings)
    return adapted


def merge_lora(adapted: Any) -> PointTransformerV3:
    """Return the backbone with the changes added to its weights; `adapted` is used up."""
    merged: PointTransformerV3 = adapted.merge_and_unload()
    return merged


def _load_peft() -> Any:
    declare_operators()  # peft imports torchvision by way of transformers
    try:
        import peft
    except ImportError as err:
        raise BackendUnavailable(
            f'LoRA needs peft ({err}): pip install -r training/requirements.txt'
        ) from err
    return peft
