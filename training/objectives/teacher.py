"""The teacher: a slow copy of the student that is never trained."""

import torch
from torch import nn


def start_teacher(teacher: nn.Module, student: nn.Module) -> None:
    """Copy the student's values of the same names, and switch off gradients and noise."""
    teacher.load_state_dict({name: student.state_dict()[name] for name in teacher.state_dict()})
    teacher.requires_grad_(False).eval()


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher towards the student: `momentum * teacher + (1 - momentum) * student`.

    Args:
        teacher: Changed in place.
        student: Has at least the parameters of the teacher, under the same names.
        momentum: Share of itself that the teacher keeps.

    Source: Tarvainen and Valpola, Mean teachers, arXiv 1703.01780.
    """
    values: list[torch.Tensor] = list(teacher.parameters())
    targets: list[torch.Tensor] = [
        student.get_parameter(name) for name, _ in teacher.named_parameters()
    ]
    torch._foreach_lerp_(values, targets, 1 - momentum)
