"""SyntheticRoom: a furnished room made from a seed, its images and its ground truth."""

import copy
import math
from dataclasses import dataclass
from typing import get_args

import numpy as np

from concerto_ros.errors import ConfigError
from concerto_ros.geometry.camera import PinholeCamera
from concerto_ros.geometry.transforms import invert
from concerto_ros.rooms.classes import CLASS_ID, scannet20_of
from concerto_ros.rooms.cloud import RoomCloud, exposed_surface, lit_color
from concerto_ros.rooms.frames import PixelFacts, RoomFrames
from concerto_ros.rooms.kinds import KINDS, furnished
from concerto_ros.rooms.layout import Layout, RoomObject
from concerto_ros.rooms.noise import SensorNoise
from concerto_ros.rooms.primitives import yaw_rotation
from concerto_ros.rooms.render import Lights, Rendering, Solid, render
from concerto_ros.rooms.sketch import Families
from concerto_ros.rooms.trajectory import Sights, camera_poses
from concerto_ros.structures import Box

DEFAULT_CAMERA = PinholeCamera(width=640, height=480, fx=525.0, fy=525.0, cx=319.5, cy=239.5)
SHELL = ('wall', 'floor', 'ceiling')
KINECT = SensorNoise()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One object of a room.

    Attributes:
        id: From 1; the value in instance images.
        class_name: Key of `SCANNET20_OF`.
        scannet20: Its ScanNet-20 name, or "unlabelled".
        family: The way it was built, unique within the class.
        box: Tight box in the object's own axes, map frame.
        color_name: Name of its dominant colour, key of `textures.COLORS`.
    """

    id: int
    class_name: str
    scannet20: str
    family: str
    box: Box
    color_name: str


class SyntheticRoom:
    """A furnished room; one seed gives the same room, walk and noise everywhere.

    The map frame has its origin in the middle of the floor, z up.

    Args:
        seed: Any whole number from 0.
        kind: Key of `KINDS`; None draws one.
        families: Which furniture families to draw from: 'train' leaves out the held-out ones,
            'test' uses only those, so that a test set holds shapes unseen in training.

    Attributes:
        seed: As given.
        kind: What kind of room it is.
        size: (x, y, z) [m].
        layout: The objects in their places.
        instances: Ground truth of every object, walls included.

    Raises:
        ConfigError: An argument is not one of the above.
    """

    def __init__(self, seed: int, kind: str | None = None, families: Families = 'all') -> None:
        if seed < 0:
            raise ConfigError(f'seed must be 0 or more, got {seed}')
        if kind is not None and kind not in KINDS:
            raise ConfigError(f'kind must be one of {", ".join(KINDS)}, got {kind!r}')
        if families not in get_args(Families):
            raise ConfigError(
                f'families must be one of {", ".join(get_args(Families))}, got {families!r}'
            )
        names = tuple(KINDS)
        drawn = names[np.random.default_rng([seed, 0]).integers(len(names))]
        self.seed = seed
        self.kind = kind or drawn
        self._furnish(furnished(self.kind, np.random.default_rng([seed, 1]), families))
        self._lights = _lights(self.layout, np.random.default_rng([seed, 4]))

    def rearranged(self, layout: Layout) -> 'SyntheticRoom':
        """Return this room, equally lit, with its objects as in another layout of it."""
        other = copy.copy(self)
        other._furnish(layout)
        return other

    def frames(
        self, num_frames: int, camera: PinholeCamera = DEFAULT_CAMERA,
        noise: SensorNoise | None = KINECT,
    ) -> RoomFrames:  # fmt: skip
        """Plan a walk through the room and return its frames, 10 per second.

        Args:
            num_frames: At least 1; about 50 show most of a room.
            camera: Of colour and depth; `DEFAULT_CAMERA.scaled(160, 120)` is 16 times faster.
            noise: The sensor; None gives exact images. Poses are exact with both.

        Raises:
            ConfigError: `num_frames` is below 1.
        """
        if num_frames < 1:
            raise ConfigError(f'num_frames must be 1 or more, got {num_frames}')
        parts = [solid.part for solid in self._solids]
        points, normal, index = exposed_surface(self.layout, parts, 0.25)
        shell = np.isin(self._facts.label[index + 1], [CLASS_ID[name] for name in SHELL])
        sights = Sights(points=points, normals=normal, worth=np.where(shell, 0.2, 1.0))
        rng = np.random.default_rng([self.seed, 5])
        poses = camera_poses(self.layout, sights, num_frames, rng)

        def view(T_map_camera: np.ndarray) -> Rendering:
            return render(self._solids, self._lights, camera, T_map_camera)

        return RoomFrames(
            seed=self.seed, view=view, facts=self._facts, camera=camera, poses=poses, noise=noise
        )

    def cloud(self, spacing: float = 0.02) -> RoomCloud:
        """Return the labelled surface that can be seen from inside the room.

        Args:
            spacing: Distance of neighbouring points, about [m].

        Raises:
            ConfigError: `spacing` is not positive.
        """
        if not spacing > 0:
            raise ConfigError(f'spacing must be above 0 m, got {spacing}')
        parts = [solid.part for solid in self._solids]
        points, normal, index = exposed_surface(self.layout, parts, spacing)
        return RoomCloud(
            coord=points.astype(np.float32),
            color=lit_color(self._solids, self._lights, points, normal, index),
            normal=normal.astype(np.float32),
            label=self._facts.label[index + 1],
            instance=self._facts.instance[index + 1],
        )

    def _furnish(self, layout: Layout) -> None:
        self.layout = layout
        self.size = layout.size
        self.instances = tuple(_instance(placed) for placed in layout.objects)
        self._solids = [
            Solid(part=part, T_object_map=invert(_T_map_object(placed)))
            for placed in layout.objects
            for part in placed.parts
        ]
        self._facts = _pixel_facts(layout.objects)


def _T_map_object(placed: RoomObject) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = yaw_rotation(placed.yaw), placed.position
    return T


def _instance(placed: RoomObject) -> Instance:
    model = placed.model
    T = _T_map_object(placed)
    return Instance(
        id=placed.id,
        class_name=model.class_name,
        scannet20=scannet20_of(model.class_name),
        family=model.family,
        box=Box(
            center=T[:3, :3] @ ((model.low + model.high) / 2) + T[:3, 3],
            size=model.high - model.low,
            yaw=placed.yaw,
        ),
        color_name=model.color_name,
    )


def _pixel_facts(objects: list[RoomObject]) -> PixelFacts:
    rows = [
        (CLASS_ID[placed.model.class_name], placed.id, part.material.mirror)
        for placed in objects
        for part in placed.parts
    ]
    label, instance, mirror = zip((0, 0, False), *rows, strict=True)
    return PixelFacts(
        label=np.array(label, dtype=np.uint16),
        instance=np.array(instance, dtype=np.uint16),
        mirror=np.array(mirror, dtype=bool),
    )


def _lights(layout: Layout, rng: np.random.Generator) -> Lights:
    """Draw one or two lamps below the ceiling and daylight from the side of a window."""
    count = int(rng.integers(1, 3))
    x, y, z = layout.size
    lamps = np.stack(
        [rng.uniform(-0.3, 0.3, count) * x, rng.uniform(-0.3, 0.3, count) * y,
         np.full(count, z - 0.25)], axis=1,
    )  # fmt: skip
    warmth = rng.uniform(0.85, 1.0)
    white = np.array([1.0, (1 + warmth) / 2, warmth])
    lit_sides = [k for k in layout.openings if any(
        o.model.class_name == 'window' for o in layout.openings[k]
    )]  # fmt: skip
    yaw = layout.walls[lit_sides[0]].yaw + math.pi if lit_sides else 0.0
    sun = np.array([math.cos(yaw), math.sin(yaw), rng.uniform(0.5, 1.0)])
    return Lights(
        ambient=float(rng.uniform(0.45, 0.6)),
        lamps=lamps,
        lamp_colors=np.tile(rng.uniform(0.5, 0.75) / math.sqrt(count) * white, (count, 1)),
        sun=sun / math.sqrt(float((sun * sun).sum())),
        sun_color=rng.uniform(0.1, 0.25) * np.array([0.95, 0.98, 1.0]),
    )
