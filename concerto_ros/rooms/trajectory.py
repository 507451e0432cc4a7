"""A camera path through the free space of a room that looks at most of what is in it."""

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from concerto_ros.rooms.layout import Layout
from concerto_ros.rooms.primitives import Array
from concerto_ros.rooms.walking import CLEARANCE, Cell, WalkingGrid, flood

MARGIN = 0.2  # the camera keeps at least this far from walls and objects [m]
MAX_STEP = 0.12  # longest way between two frames [m]
MAX_TURN = math.radians(10)  # largest planned turn between two frames
_KNOT = 6  # frames between two planned view directions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sights:
    """Surface points that a walk should bring into view.

    Attributes:
        points: (N, 3) float64 [m], map frame.
        normals: (N, 3) float64 unit vectors.
        worth: (N,) float64, how much each counts.
    """

    points: Array
    normals: Array
    worth: Array


def camera_poses(
    layout: Layout, surface: Sights, num_frames: int, rng: np.random.Generator
) -> Array:
    """Plan a walk of a hand-held camera.

    Args:
        layout: The furnished room.
        surface: What is worth seeing.
        num_frames: Number of poses.
        rng: Draws waypoints and the shaking of the hand.

    Returns:
        (num_frames, 4, 4) float64, each `T_map_camera` of an optical frame.
    """
    path = _walk(layout, num_frames * MAX_STEP, rng)
    xy = _resample(path, num_frames)
    height = rng.uniform(1.25, 1.5)
    yaw, pitch = _look(xy, height, surface, num_frames, rng)
    sway = [_wobble(num_frames, rng) for _ in range(4)]
    poses = np.empty((num_frames, 4, 4))
    for k in range(num_frames):
        position = np.array([xy[k, 0], xy[k, 1], height + 0.02 * sway[0][k]])
        angles = yaw[k] + 0.02 * sway[1][k], pitch[k] + 0.02 * sway[2][k], 0.03 * sway[3][k]
        poses[k] = look(position, *angles)
    return poses


def look(position: Array, yaw: float, pitch: float, roll: float = 0.0) -> Array:
    """Return `T_map_camera` (4, 4) of a camera at `position` (3,) [m].

    Args:
        position: Of the camera centre, map frame.
        yaw: Direction of the optical axis about +z [rad], 0 is along +x.
        pitch: Its elevation [rad], positive looks up.
        roll: Turn about the optical axis [rad].
    """
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    forward = np.array([cp * cy, cp * sy, sp])
    right = np.array([sy, -cy, 0.0])
    down = np.cross(forward, right)
    cr, sr = math.cos(roll), math.sin(roll)
    T = np.eye(4)
    T[:3, 0], T[:3, 1], T[:3, 2] = cr * right + sr * down, cr * down - sr * right, forward
    T[:3, 3] = position
    return T


def _walk(layout: Layout, length: float, rng: np.random.Generator) -> Array:
    """Return a smooth path (N, 2) [m] of at most `length`, from the door past far-off places."""
    grid = layout.grid
    start = grid.cell(layout.entrance)
    free = flood(grid.distance > CLEARANCE, start)
    path = [start]
    for goal in _waypoints(free, start, rng):
        path += _shortest(free, grid.distance, path[-1], goal)
    points = _smooth(grid.centers[tuple(np.array(path).T)], grid)
    steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(axis=1))
    within = np.concatenate([[0.0], np.cumsum(steps)]) <= length
    return points[within]


def _waypoints(free: NDArray[np.bool_], start: Cell, rng: np.random.Generator) -> list[Cell]:
    """Return up to six free cells, each the farthest from all before, then nearest-first."""
    cells = np.argwhere(free)
    if len(cells) < 2:
        return []
    chosen = [np.array(start)]
    spread = ((cells - chosen[0]) ** 2).sum(axis=1) * rng.uniform(0.7, 1.0, len(cells))
    for _ in range(6):
        chosen.append(cells[spread.argmax()])
        spread = np.minimum(spread, ((cells - chosen[-1]) ** 2).sum(axis=1))
    rest, here, order = chosen[1:], chosen[0], []
    while rest:
        nearest = int(np.argmin([((cell - here) ** 2).sum() for cell in rest]))
        here = rest.pop(nearest)
        order.append((int(here[0]), int(here[1])))
    return order


def _shortest(free: NDArray[np.bool_], open_space: Array, start: Cell, goal: Cell) -> list[Cell]:
    """Return the cells after `start` on the cheapest way to `goal`; narrow places cost more."""
    cost = {start: 0.0}
    origin: dict[Cell, Cell] = {}
    queue = [(0.0, start)]
    while queue:
        spent, here = heapq.heappop(queue)
        if here == goal:
            break
        if spent > cost[here]:
            continue
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                there = here[0] + di, here[1] + dj
                inside = 0 <= there[0] < free.shape[0] and 0 <= there[1] < free.shape[1]
                if not inside or not free[there]:
                    continue
                total = spent + math.hypot(di, dj) * (1 + 0.3 / float(open_space[there]))
                if total < cost.get(there, math.inf):
                    cost[there], origin[there] = total, here
                    heapq.heappush(queue, (total, there))
    path = []
    while goal != start:
        path.append(goal)
        goal = origin[goal]
    return path[::-1]


def _smooth(points: Array, grid: WalkingGrid) -> Array:
    """Round the corners of a path (N, 2), keeping `MARGIN` everywhere."""
    for _ in range(30):
        middle = points.copy()
        middle[1:-1] = 0.25 * points[:-2] + 0.5 * points[1:-1] + 0.25 * points[2:]
        # 2 cm more than MARGIN: between two samples the path comes a little nearer
        points = np.where((grid.clearance(middle) > MARGIN + 0.02)[:, None], middle, points)
    return points


def _resample(path: Array, count: int) -> Array:
    """Return `count` points (count, 2) at equal steps along a path (N, 2)."""
    steps = np.sqrt((np.diff(path, axis=0) ** 2).sum(axis=1))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(wanted, along, path[:, k]) for k in (0, 1)], axis=1)


def _look(
    xy: Array, height: float, surface: Sights, count: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Return yaw and pitch (count,) [rad] that bring much unseen surface into view."""
    knots = np.unique(np.append(np.arange(0, count, _KNOT), count - 1))
    worth = surface.worth.copy()
    yaws: list[float] = []
    pitches: list[float] = []
    turns = np.linspace(-1, 1, 7) * _KNOT * MAX_TURN
    start = float(rng.uniform(-math.pi, math.pi))
    for k in knots:
        position = np.array([xy[k, 0], xy[k, 1], height])
        yaw_choices = start + 2 * math.pi * np.arange(12) / 12 if not yaws else yaws[-1] + turns
        yaw, pitch, seen = _best_view(position, surface, worth, yaw_choices)
        worth[seen] *= 0.1  # a second look is worth little
        yaws.append(yaw)
        pitches.append(pitch)
    frames = np.arange(count)
    yaw_path, pitch_path = np.interp(frames, knots, yaws), np.interp(frames, knots, pitches)
    for _ in range(4):
        yaw_path, pitch_path = _blur(yaw_path), _blur(pitch_path)
    return yaw_path, pitch_path


def _best_view(
    position: Array, surface: Sights, worth: Array, yaws: Array
) -> tuple[float, float, NDArray[np.bool_]]:
    """Return yaw, pitch and the points in view of the most rewarding direction."""
    offset = surface.points - position
    flat = np.hypot(offset[:, 0], offset[:, 1])
    facing = ((offset * surface.normals).sum(axis=1) < 0) & (flat < 5.0) & (flat > 0.4)
    bearing = np.arctan2(offset[:, 1], offset[:, 0])
    elevation = np.arctan2(offset[:, 2], flat)
    best = (-1.0, 0.0, 0.0, facing)
    for yaw in yaws:
        turn = np.abs((bearing - yaw + math.pi) % (2 * math.pi) - math.pi)
        # what lies outside the view still attracts, so that the camera turns to unseen sides
        pull = 0.15 * float(((1 - turn / math.pi) * worth)[facing].sum())
        for pitch in (-0.5, -0.3, -0.1):
            seen = facing & (turn < 0.5) & (np.abs(elevation - pitch) < 0.38)
            score = float(worth[seen].sum()) + pull
            if score > best[0]:
                best = (score, float(yaw), pitch, seen)
    return best[1], best[2], best[3]


def _blur(values: Array) -> Array:
    padded = np.concatenate([values[:1], values, values[-1:]])
    return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


def _wobble(count: int, rng: np.random.Generator) -> Array:
    """Return a smooth shaking (count,) between -1 and 1, of about 0.5 to 1 Hz at 10 Hz."""
    total = np.zeros(count)
    for weight in (0.6, 0.4):
        phase, step = rng.uniform(0, 2 * math.pi), 2 * math.pi * rng.uniform(0.05, 0.1)
        total += weight * np.sin(phase + step * np.arange(count))
    return total
