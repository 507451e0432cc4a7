"""Run benchmarks, each in a process of its own: `python -m bench [name ...]`, all by default."""

import os
import subprocess
import sys

BENCHMARKS = (
    'fusion', 'growth', 'building', 'soak', 'drift', 'windows', 'semantic_latency', 'cloud',
    'memory', 'search', 'encoder', 'training_views', 'training_step', 'hierarchy', 'masks',
    'masked_step',
)  # fmt: skip
BRIEF = {'SOAK_MINUTES': '10'}  # of those that take long, when all are run


def main(names: list[str]) -> int:
    """Return 0 if all of them ran."""
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        print(f'no benchmark is called {", ".join(unknown)}; there are {", ".join(BENCHMARKS)}')
        return 2
    # One thread unless told otherwise: with a busy second core nothing else can be compared.
    env = {'OMP_NUM_THREADS': '1', **({} if names else BRIEF), **os.environ}
    runs = [
        subprocess.run([sys.executable, '-m', f'bench.{name}'], env=env, check=False)
        for name in names or BENCHMARKS
    ]
    return int(any(run.returncode for run in runs))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
