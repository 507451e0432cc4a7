"""Clock, memory, ceilings and launches of a device."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Clock:
    """Times work on a device; on a CPU it works as well."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds = device, rounds

    def wait(self) -> None:
        """Wait until the device has done all its work."""
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)

    def now(self) -> float:
        """Return the time when all work so far is done [s]."""
        self.wait()
        return time.perf_counter()

    def milliseconds(self, run: Callable[[], object]) -> float:
        """Return the median time of a run, after two that do not count."""
        times = []
        for _ in range(2 + self.rounds):
            started = self.now()
            run()
            times.append(1000 * (self.now() - started))
        return statistics.median(times[2:])

    def peak_gigabytes(self, run: Callable[[], object]) -> float:
        """Return by how much memory of the device grows at most; 0 on a CPU."""
        if self.device.type != 'cuda':
            run()
            return 0.0
        self.wait()
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        run()
        self.wait()
        return (torch.cuda.max_memory_allocated(self.device) - before) / 1e9


class Ceilings:
    """What the device can do at most, measured.

    Attributes:
        bytes_per_ms: Of memory, reads and writes added.
        flops_per_ms: Of matrix products, by precision.
    """

    def __init__(self, clock: Clock, size: int) -> None:
        device = clock.device
        source = torch.empty(size * size * 16, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        self.bytes_per_ms = 2 * source.nbytes / clock.milliseconds(lambda: target.copy_(source))
        self.flops_per_ms = {}
        for name, dtype in DTYPES.items():
            a = torch.randn(size, size, device=device).to(dtype)
            ms = clock.milliseconds(lambda a=a: a @ a)
            self.flops_per_ms[name] = 2 * size**3 / ms

    def __str__(self) -> str:
        rates = (f'{name} {1e-9 * rate:.3g}' for name, rate in self.flops_per_ms.items())
        return f'{1e-6 * self.bytes_per_ms:.3g} GB/s, {", ".join(rates)} TFLOP/s'

    def floor_ms(self, num_bytes: float, flops: float, precision: str) -> float:
        """Return the least time for so much traffic and arithmetic [ms]."""
        return max(num_bytes / self.bytes_per_ms, flops / self.flops_per_ms[precision])


def launches(run: Callable[[], object], clock: Clock) -> str:
    """Tell how many kernels a run launches, for how long they work, and how often it waits."""
    run()
    is_cuda = clock.device.type == 'cuda'
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * is_cuda
    with profile(activities=activities) as profiler:
        started = clock.now()
        run()
        elapsed_ms = 1000 * (clock.now() - started)
    events = list(profiler.events())
    if not is_cuda:
        return f'{sum(event.cpu_parent is None for event in events)} calls of operators'
    kernels = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    copies = sum(e.name.startswith(('Memcpy', 'Memset')) for e in kernels)
    busy_ms = sum(e.time_range.elapsed_us() for e in kernels) / 1000
    waits = sum('Synchronize' in e.name for e in events)
    return (
        f'{len(kernels) - copies} kernels and {copies} copies, busy {busy_ms:.2f} of '
        f'{elapsed_ms:.2f} ms while watched, {waits} waits'
    )
