"""The benchmarks of a map's size and age, on a tiny building."""

import re

import numpy as np

from bench import __main__ as all_benches
from bench import building, soak
from bench.resident import resident
from concerto_ros.rooms.building import Building
from concerto_ros.rooms.room import DEFAULT_CAMERA

TINY = DEFAULT_CAMERA.scaled(80, 60)


def test_a_frame_is_timed_in_maps_of_all_sizes(monkeypatch, capsys):
    monkeypatch.setattr(building, 'SIZES', (2_000, 6_000, 14_000))
    monkeypatch.setattr(building, 'NUM_ROOMS', 6)
    tiny = {'num_models': 2, 'frames_per_visit': 6, 'camera': TINY}
    monkeypatch.setattr(building, 'Building', lambda rooms: Building(rooms, **tiny))
    building.main()
    printed = capsys.readouterr().out
    assert re.match(
        r'building: \S+ x the time of a map of 2,000 voxels for a frame in one of 14,000 \(',
        printed,
    )
    for size in ('2,000', '6,000', '14,000'):
        assert re.search(
            rf'  {size} voxels: known room p50 \S+, p95 \S+ ms; new room p50', printed
        )
    assert len(re.findall(r'changes of a frame p50 .* bytes of memory per voxel', printed)) == 3


def test_the_same_frames_are_counted_for_each_map():
    tour = Building(1, num_models=1, frames_per_visit=5, camera=TINY).tour()
    maps = [building.mapper(10**9, stride=2) for _ in range(3)]
    costs = building._measure(maps, tour)
    assert costs.frame_ms.shape == costs.changes_ms.shape == (5 - building._WARMUP, 3)
    assert (costs.frame_ms > 0).all()
    np.testing.assert_array_equal(costs.num_changed.min(axis=1), costs.num_changed.max(axis=1))


def test_the_soak_prints_the_curve_of_memory(monkeypatch, capsys):
    monkeypatch.setattr(soak, 'FRAMES_PER_VISIT', 6)
    monkeypatch.setattr(soak, '_CAMERA', TINY)
    monkeypatch.setattr(soak, '_NUM_MODELS', 1)
    monkeypatch.setenv('SOAK_MINUTES', '0.5')
    soak.main()
    headline, curve, columns, *table = capsys.readouterr().out.splitlines()
    assert re.match(r'soak: \S+ x the anonymous memory of the first quarter in the last', headline)
    assert re.search(r' MB per hour over the last three, in \S+ minutes through 2 rooms', headline)
    assert re.search(rf'[{soak._BARS}]{{48}} of \d+ MB', curve)
    assert len(columns.split('  ')) > 5
    minutes = [float(line.split()[0]) for line in table]
    assert minutes == sorted(minutes)
    assert minutes[-1] == 0.5


def test_all_benchmarks_together_soak_briefly(monkeypatch):
    ran = []

    class Done:
        returncode = 0

    def run(command, env, check):
        ran.append((command[-1], env.get('SOAK_MINUTES')))
        return Done

    monkeypatch.setattr(all_benches.subprocess, 'run', run)
    monkeypatch.delenv('SOAK_MINUTES', raising=False)
    assert all_benches.main(['soak']) == all_benches.main([]) == 0
    assert ran[0] == ('bench.soak', None)
    assert ('bench.soak', '10') in ran[1:]


def test_memory_is_read_by_kind(tmp_path):
    status = tmp_path / 'status'
    status.write_text(
        'Name:\tpython\nRssAnon:\t    12 kB\nRssFile:\t     3 kB\nRssShmem:\t 0 kB\n'
    )
    assert (resident(status).anonymous, resident(status).mapped) == (12 * 1024, 3 * 1024)
    held = np.ones(100_000_000, dtype=np.uint8)
    assert resident().anonymous > 0.9 * held.nbytes
