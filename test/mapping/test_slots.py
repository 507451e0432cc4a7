import torch

from concerto_ros.mapping.slots import Slots


def test_freed_numbers_are_given_out_again_and_no_number_twice(device):
    slots, held = Slots(device), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        held += slots.take(int(torch.randint(0, 20, (1,), generator=generator))).tolist()
        assert len(set(held)) == len(held) == slots.num_used
        goes = [n for n in held if torch.rand(1, generator=generator) < 0.4]
        slots.free(torch.tensor(goes, dtype=torch.int64, device=device))
        held = [n for n in held if n not in set(goes)]
    assert slots.length < 100
    assert max(held) < slots.length
