import pytest
import torch
from torch import nn

from training.objectives.teacher import start_teacher, update_teacher


def networks():
    student = nn.ModuleDict({'a': nn.Linear(3, 2), 'b': nn.Linear(2, 2)})
    teacher = nn.ModuleDict({'a': nn.Linear(3, 2)})
    return student, teacher


def test_teacher_starts_as_a_still_copy():
    student, teacher = networks()
    start_teacher(teacher, student)
    assert torch.equal(teacher['a'].weight, student['a'].weight)
    assert teacher['a'].weight.data_ptr() != student['a'].weight.data_ptr()
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training


@pytest.mark.parametrize('momentum', [0.0, 0.25, 1.0])
def test_teacher_is_the_moving_average_of_the_student(momentum):
    student, teacher = networks()
    start_teacher(teacher, student)
    expected = {name: p.clone() for name, p in teacher.named_parameters()}
    for _ in range(3):
        for p in student.parameters():
            p.data.add_(torch.randn_like(p))
        update_teacher(teacher, student, momentum)
        for name, value in expected.items():
            expected[name] = momentum * value + (1 - momentum) * student.get_parameter(name)
    for name, value in expected.items():
        torch.testing.assert_close(teacher.get_parameter(name).data, value.data)


def test_student_stays_as_it_is():
    student, teacher = networks()
    before = [p.clone() for p in student.parameters()]
    start_teacher(teacher, student)
    student['a'].weight.data.add_(1)
    update_teacher(teacher, student, 0.5)
    assert torch.equal(student['a'].weight, before[0] + 1)
