"""What changes with the step."""

from training.masked_scene.config import MaskedOptimizerConfig, TeacherConfig
from training.schedules import cosine
from training.structures import StepValues


def masked_values(
    step: int, num_steps: int, optimizer: MaskedOptimizerConfig, teacher: TeacherConfig
) -> StepValues:
    """Return the values of one step of masked scene modelling.

    Args:
        step: 0 .. num_steps - 1.
        num_steps: Of the whole run.
        optimizer: Learning rate, momentum and weight decay.
        teacher: Its momentum.

    Source: Masked Scene Modeling, arXiv 2504.06719, Table 14; it names the ends of the teacher's
        momentum, and half a cosine between them is our choice.
    """
    warm = optimizer.warmup * num_steps
    if step < warm:
        factor = min((step + 1) / warm, 1.0)
    else:
        factor = cosine((step - warm) / (num_steps - warm), 1.0, 0.0)
    return StepValues(
        step=step,
        lr=optimizer.lr * factor,
        beta1=optimizer.beta1,
        weight_decay=optimizer.weight_decay,
        momentum=cosine(step / max(num_steps - 1, 1), teacher.momentum, teacher.momentum_last),
    )
