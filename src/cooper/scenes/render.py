"""Pictures of scenes with exact ground truth: RGB, metric depth, labels and how much of each thing is visible.

MuJoCo draws, headless. One tiny model holds textures and a cone; every scene's geometry is written straight into
MuJoCo's abstract scene, so nothing is compiled, simulated or uploaded from one scene to the next.
"""

from __future__ import annotations

import importlib
import os
import sys
from ctypes.util import find_library
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np

from . import textures
from .world import COLORS, FINISHES, FLOORS, MAX_THINGS, WALLS, Room, Scene, Thing, bounding_rectangle, rotation_z

_NEAR, _FAR = 0.3, 24.0  # metres, clipping planes
_LAP = 0.1  # metres the room's surfaces go on behind one another, so that no gap shows in the corners
_SURFACES = 6  # of a room
_SAMPLES = 4  # of antialiasing, in RGB only
_MATERIALS = (
    *(f"thing-{name}" for name in FINISHES),
    *(f"floor-{name}" for name in FLOORS),
    *(f"wall-{name}" for name in WALLS),
)
_MISSING = (
    "drawing scenes needs MuJoCo and a headless GL library: pip install 'cooper-spatial[scenes]', make setup-scenes"
)


@dataclass(frozen=True, eq=False)
class View:
    """What the camera of a scene sees.

    rgb: uint8 (height, width, 3), antialiased.
    depth: float32 (height, width), metres along the optical axis through the middle of each pixel; every pixel is
    valid. Exact to 0.02 mm on flat surfaces; round ones are drawn with 48 by 32 facets, which costs about a millimetre
    (more only in grazing pixels at their outlines).
    labels: uint8 (height, width), the id of the thing seen through the middle of the pixel, 0 for the room.
    visible: id to the share, 0..1, of the thing's whole silhouette that is seen: its pixels in `labels` over the pixels
    it would cover if nothing stood before it and the picture went on beyond its borders (by half its width and height
    on every side). So both occlusion and being cut by the border lower it.
    """

    rgb: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    visible: dict[int, float]


class Renderer:
    """Draws scenes at one size. Holds GL resources of the thread that made it: use it there, and `close` it.

    `size` is pixels: one number for a square, or (height, width). Raises ImportError in one line if MuJoCo or its GL
    library is missing.
    """

    def __init__(self, size: int | tuple[int, int] = 128) -> None:
        self.height, self.width = (size, size) if isinstance(size, int) else size
        if min(self.height, self.width) < 8 or max(self.height, self.width) > 4096:
            raise ValueError(f"a picture is 8 to 4096 pixels high and wide, not {self.height} x {self.width}")
        self._mj, self._gl = _open_gl(2 * self.width, 2 * self.height)
        self._gl.make_current()
        # Colours are antialiased; depth and labels come from a buffer of their own that is not, so never mixed. It is
        # twice as large, for silhouettes that go on beyond the picture.
        self._model = _model(self._mj, _SAMPLES, self.width, self.height)
        self._smooth = self._context(self._model)
        self._exact = self._context(_model(self._mj, 0, 2 * self.width, 2 * self.height))
        self._space = self._mj.MjvScene(self._model, MAX_THINGS + _SURFACES)
        self._space.enabletransform = 0

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Free the GL resources. Nothing can be drawn afterwards."""
        if self._gl is not None:
            self._gl.make_current()
            self._smooth.free()
            self._exact.free()
            self._gl.free()
            self._gl = None

    def render(self, scene: Scene) -> View:
        """Draw a scene. The same scene gives the same bytes, whatever was drawn before."""
        if self._gl is None:
            raise ValueError("this Renderer is closed; make a new one")
        self._gl.make_current()
        self._write(scene)
        rgb = np.empty((self.height, self.width, 3), np.uint8)
        self._draw(self._smooth, scene, rgb, None, margin=False)
        ids = np.empty_like(rgb)
        raw = np.empty((self.height, self.width), np.float32)
        self._draw(self._exact, scene, ids, raw, margin=False)
        labels = ids[::-1, :, 0] % 255  # 255 is the room
        depth = (_NEAR * _FAR / (_NEAR + raw[::-1].astype(np.float64) * (_FAR - _NEAR))).astype(np.float32)
        return View(np.ascontiguousarray(rgb[::-1]), depth, labels, self._visible(scene, labels))

    def _context(self, model: Any) -> Any:
        try:
            context = self._mj.MjrContext(model, self._mj.mjtFontScale.mjFONTSCALE_50)
        except self._mj.FatalError as error:
            raise ImportError(f"{_MISSING} ({error})") from None
        context.readDepthMap = self._mj.mjtDepthMap.mjDEPTH_ZEROFAR
        return context

    def _write(self, scene: Scene) -> None:
        """Put room, things and light of the scene into MuJoCo's abstract scene."""
        self._space.ngeom = 0
        for thing in scene.things:
            self._add_thing(thing)
        self._add_room(scene.room)
        self._set_light(scene)

    def _add(self, kind: int, size: Any, position: Any, frame: Any, color: Any, material: str, label: int) -> Any:
        """A geom of half extents `size` about `position`, its axes the columns of `frame`."""
        geom = self._space.geoms[self._space.ngeom]
        rgba = np.array([*color, 1], np.float32)
        self._mj.mjv_initGeom(geom, kind, np.ones(3), np.array(position, float), np.ravel(frame), rgba)
        geom.size = size
        geom.category = self._mj.mjtCatBit.mjCAT_STATIC
        geom.matid = _MATERIALS.index(material)
        # The colour in a label picture is segid + 1, and 0 would leave a hole in the depth: the room's is 255.
        geom.segid = label - 1 if label else 254
        self._space.ngeom += 1
        return geom

    def _add_thing(self, thing: Thing) -> None:
        kinds = self._mj.mjtGeom
        x, y, z = (extent / 2 for extent in thing.size)
        frame = rotation_z(thing.yaw)
        position: Any = np.asarray(thing.position)
        color, material = COLORS[thing.color], f"thing-{thing.finish}"
        if thing.shape == "cone":
            # A mesh has no size in the abstract scene, but its frame need not be a rotation: the scale goes in there.
            frame = frame @ np.diag([x, y, z])
            position = position + frame @ self._model.mesh_pos[0]
            turn = np.empty(9)
            self._mj.mju_quat2Mat(turn, self._model.mesh_quat[0])
            frame = frame @ turn.reshape(3, 3)
            geom = self._add(kinds.mjGEOM_MESH, (1, 1, 1), position, frame, color, material, thing.id)
            geom.dataid = 0
        else:
            kind = {"ball": kinds.mjGEOM_SPHERE, "box": kinds.mjGEOM_BOX, "cylinder": kinds.mjGEOM_CYLINDER}
            geom = self._add(kind[thing.shape], (x, y, z), position, frame, color, material, thing.id)
        geom.specular, geom.shininess = (0.5, 0.6) if thing.finish != "grain" else (0.15, 0.3)

    def _add_room(self, room: Room) -> None:
        plane = self._mj.mjtGeom.mjGEOM_PLANE
        x, y, z = (room.left + room.right) / 2, (room.back + room.front) / 2, room.height / 2
        tall = z + _LAP
        half_x, half_y = (room.right - room.left) / 2 + _LAP, (room.front - room.back) / 2 + _LAP
        across, ahead, up = np.eye(3)
        wall = f"wall-{room.wall}"
        # Each surface: half extents, middle, its own x, y and normal (pointing into the room), colour, material.
        for half, middle, axes, color, material in (
            ((half_x, half_y), (x, y, 0), (across, ahead, up), room.floor_color, f"floor-{room.floor}"),
            ((half_x, half_y), (x, y, room.height), (across, -ahead, -up), room.ceiling_color, "wall-plain"),
            ((half_x, tall), (x, room.front, z), (across, up, -ahead), room.wall_color, wall),
            ((half_x, tall), (x, room.back, z), (-across, up, ahead), room.wall_color, wall),
            ((half_y, tall), (room.left, y, z), (ahead, up, across), room.side_color, wall),
            ((half_y, tall), (room.right, y, z), (-ahead, up, -across), room.side_color, wall),
        ):
            geom = self._add(plane, (*half, 0.1), middle, np.stack(axes, axis=1), color, material, 0)
            geom.specular, geom.shininess, geom.castshadow = 0.05, 0.1, 0

    def _set_light(self, scene: Scene) -> None:
        lamp, fill = self._space.lights[0], self._space.lights[1]
        light = scene.room.light
        color = np.asarray(light.color)
        for one in (lamp, fill):
            one.attenuation, one.exponent, one.headlight = [1, 0, 0], 0, 0
        lamp.type, lamp.cutoff, lamp.castshadow = self._mj.mjtLightType.mjLIGHT_SPOT, 60, 1
        lamp.pos, lamp.dir = light.position, np.asarray(light.direction) / np.linalg.norm(light.direction)
        lamp.ambient, lamp.diffuse, lamp.specular = color * light.ambient, color, color * 0.6
        # A weaker light from behind the camera, without a shadow, for the ceiling and the fronts of things.
        fill.type, fill.castshadow = self._mj.mjtLightType.mjLIGHT_DIRECTIONAL, 0
        fill.pos, fill.dir = (0, 0, scene.camera.height), np.array([0.25, 0.9, 0.36])
        fill.ambient, fill.diffuse, fill.specular = [0.14] * 3, [0.3] * 3, [0] * 3
        self._space.nlight = 2

    def _draw(self, context: Any, scene: Scene, rgb: np.ndarray, raw: np.ndarray | None, margin: bool) -> None:
        """Draw into `rgb` and `raw` depth, both upside down. With `margin` twice as wide and high, same pixels."""
        scale = 2 if margin else 1
        exact = context is self._exact
        flags, flag = self._space.flags, self._mj.mjtRndFlag
        flags[:] = 0
        flags[flag.mjRND_SHADOW] = not exact
        flags[flag.mjRND_CULL_FACE] = 1
        flags[flag.mjRND_SEGMENT] = flags[flag.mjRND_IDCOLOR] = exact
        top = scale * _NEAR * np.tan(np.radians(scene.camera.fov) / 2)
        pose = scene.camera.pose
        for eye in self._space.camera:
            eye.pos, eye.forward, eye.up = pose[:3, 3], pose[:3, 2], -pose[:3, 1]
            eye.frustum_near, eye.frustum_far, eye.frustum_center = _NEAR, _FAR, 0
            eye.frustum_top, eye.frustum_bottom, eye.frustum_width = top, -top, top * self.width / self.height
        self._mj.mjr_setBuffer(self._mj.mjtFramebuffer.mjFB_OFFSCREEN, context)  # there are two of them
        area = self._mj.MjrRect(0, 0, scale * self.width, scale * self.height)
        self._mj.mjr_render(area, self._space, context)
        self._mj.mjr_readPixels(rgb, raw, area, context)

    def _visible(self, scene: Scene, labels: np.ndarray) -> dict[int, float]:
        seen = np.bincount(labels.ravel(), minlength=len(scene.things) + 1)
        rectangles = [bounding_rectangle(scene.camera, t, self.width, self.height) for t in scene.things]
        shares: dict[int, float] = {}
        alone = np.empty((2 * self.height, 2 * self.width, 3), np.uint8)
        for i, thing in enumerate(scene.things):
            left, top, right, bottom = rectangles[i]
            inside = left >= 0 and top >= 0 and right <= self.width and bottom <= self.height
            if inside and not any(_overlap(rectangles[i], r) for j, r in enumerate(rectangles) if j != i):
                shares[thing.id] = 1.0 if seen[thing.id] else 0.0
                continue
            self._space.ngeom = 0
            self._add_thing(thing)
            self._draw(self._exact, scene, alone, None, margin=True)
            whole = int(np.count_nonzero(alone[:, :, 0]))
            shares[thing.id] = min(1.0, float(seen[thing.id]) / whole) if whole else 0.0
        return shares


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.maximum(a[:2], b[:2]) < np.minimum(a[2:], b[2:])).all())


def _model(mj: Any, samples: int, width: int, height: int) -> Any:
    """A model that holds the textures, their materials and a cone of radius 1 from z = -1 to 1."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    rim = " ".join(f"{np.cos(a):.9f} {np.sin(a):.9f} -1" for a in angles)
    assets = []
    for name in _MATERIALS:
        use = name.split("-")[0]
        kind = "cube" if use == "thing" else "2d"
        rows = textures.SIZE * (6 if use == "thing" else 1)
        assets.append(f'<texture name="{name}" type="{kind}" builtin="flat" width="{textures.SIZE}" height="{rows}"/>')
        repeat = "1" if use == "floor" else "0.8"
        assets.append(
            f'<material name="{name}" texture="{name}" texuniform="{str(use != "thing").lower()}" '
            f'texrepeat="{repeat} {repeat}"/>'
        )
    model = mj.MjModel.from_xml_string(
        f"""<mujoco>
        <statistic extent="1" center="0 3 1"/>
        <visual>
          <global offwidth="{width}" offheight="{height}"/>
          <quality offsamples="{samples}" shadowsize="1024" numslices="48" numstacks="32"/>
          <map znear="{_NEAR}" zfar="{_FAR}" shadowscale="0.5"/>
        </visual>
        <asset>{"".join(assets)}<mesh name="cone" vertex="{rim} 0 0 1"/></asset>
        <worldbody><geom type="mesh" mesh="cone"/></worldbody></mujoco>"""
    )
    for i, name in enumerate(_MATERIALS):
        image = textures.pattern(name.split("-")[1])
        start, channels = model.tex_adr[i], model.tex_nchannel[i]
        n = model.tex_height[i] * model.tex_width[i] * channels
        model.tex_data[start : start + n] = np.tile(image.ravel(), n // image.size)
    return model


def _open_gl(width: int, height: int) -> tuple[Any, Any]:
    """MuJoCo and a headless GL context: what MUJOCO_GL says, else on Linux EGL if there is one, or OSMesa."""
    if sys.platform == "linux" and not os.environ.get("MUJOCO_GL"):
        os.environ["MUJOCO_GL"] = "egl" if find_library("EGL") else "osmesa"
    backend = os.environ.get("MUJOCO_GL", "")
    try:
        mujoco = importlib.import_module("mujoco")
        # Not `mujoco.GLContext` where it can be helped: who imported MuJoCo first may have chosen a windowed one.
        module = importlib.import_module(f"mujoco.{backend}") if backend in ("egl", "osmesa") else mujoco
        return mujoco, module.GLContext(width, height)
    except Exception as error:  # what a missing GL library raises differs from one platform to the next
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ImportError(f"{_MISSING} ({reason[0]})") from None
