"""The one way in which every MuJoCo task is drawn, and how MuJoCo is first imported.

Drawing is nearly the whole cost of a MuJoCo step on a CPU, so the packages' own pictures are not
used: this class draws the same scene with settings that cost a third or less.
"""

import importlib
import os
import platform
import sys
import threading
import weakref
from dataclasses import dataclass
from typing import Any, get_args

import cv2
import numpy as np
from jaxtyping import UInt8

from reverie.core.errors import ConfigError, MissingDriverError, ReverieError
from reverie.core.types import DEFAULT_QUALITY, NATIVE_FRAME_PX, FrameSpec, RenderQuality

QUALITIES: tuple[RenderQuality, ...] = get_args(RenderQuality)
"""``release``: the model's own shadow map and samples, as in released frames. ``fast``: one sample
a pixel, smaller shadow map, round shapes of fewer faces; our own data. ``fast2x``: the same at
twice the size, averaged 2x2; smooth edges, for the live page and for video.

Frames of half the native size or less are averages of a picture that is a whole number of times
larger in both fast qualities: drawing it costs hardly more, and thin limbs stay whole."""

SHADOW_MAP_PX = 1024
FAST_SLICES, FAST_STACKS = 16, 8
"""Faces around and along spheres and capsules (MuJoCo: 28 and 16). Their vertices are most of what
is left of the cost; the mean picture moves by 0.1 of 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FreeCamera:
    """A camera that the model does not name, in the terms of ``MjvCamera``."""

    look_at: tuple[float, float, float]
    distance: float
    azimuth_deg: float = 90.0
    elevation_deg: float = -45.0


Camera = str | int | FreeCamera
"""A camera of the model by name or index, or a free one."""


def choose_graphics() -> None:
    """Let MuJoCo draw without a screen, if nobody has chosen how it draws.

    MuJoCo and the packages built on it read ``MUJOCO_GL`` when they are imported; later would be
    too late. So factories call this before they import what imports MuJoCo, wanted or not.

    Raises:
        ReverieError: MuJoCo was imported before, without ``MUJOCO_GL``.
    """
    if platform.system() != "Linux" or os.environ.get("MUJOCO_GL"):
        return
    if "mujoco" in sys.modules:
        raise ReverieError(
            "The package 'mujoco' was imported before Reverie could choose how it draws. Set "
            "MUJOCO_GL=egl before Python starts, or make the task before importing mujoco."
        )
    os.environ["MUJOCO_GL"] = "egl"


def prepare_mujoco() -> Any:
    """Import MuJoCo with a headless graphics back-end; factories call this before they import.

    Returns:
        The module ``mujoco``.

    Raises:
        ReverieError: MuJoCo was imported before, without ``MUJOCO_GL``.
        MissingDriverError: The graphics library of the back-end is not installed.
    """
    choose_graphics()
    try:
        return importlib.import_module("mujoco")
    except ModuleNotFoundError:
        raise
    except (AttributeError, ImportError, OSError) as error:
        # PyOpenGL answers a missing library with an attribute of None.
        raise _missing_driver(error) from error


class MujocoRenderer:
    """Draws one model. Belongs to the thread that draws first, because its GL context does.

    The model is left as it was: the settings of a quality hold only while the context is made.
    """

    def __init__(
        self,
        model: Any,
        frame_spec: FrameSpec,
        *,
        camera: Camera,
        quality: RenderQuality = DEFAULT_QUALITY,
        release_px: int = NATIVE_FRAME_PX,
        has_mirrors: bool = True,
    ) -> None:
        """Remember what to draw; the GL context is made by the first ``draw``.

        Args:
            model: The ``MjModel``. Unwrap dm_control's with ``physics.model._model``.
            frame_spec: Size of the frames; any size is drawn directly, except in ``release``.
            camera: Where to look from.
            quality: How carefully to draw.
            release_px: Side of the square picture that the benchmark's own code draws and then
                reduces; only ``release`` draws this size.
            has_mirrors: False where nothing that is seen reflects: the fast qualities then save the
                scenes that MuJoCo draws for mirrors out of sight.
        """
        if quality not in QUALITIES:
            raise ConfigError(
                f"Unknown render quality '{quality}'. Choose one of: {', '.join(QUALITIES)}."
            )
        self.frame_spec = frame_spec
        self.quality: RenderQuality = quality
        self._model = model
        self._camera = _to_mujoco_camera(camera)
        self._release_px = release_px
        self._has_mirrors = has_mirrors
        self._renderer: Any = None
        self._owner = 0
        self._finalizer: Any = None

    def draw(self, data: Any) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the ``MjData`` as it is. Positions must be up to date (``mj_forward``)."""
        if self._renderer is None:
            self._renderer = self._open()
        if threading.get_ident() != self._owner:
            raise ReverieError(
                "A MuJoCo picture was asked for in another thread than the one that drew first. "
                "Make, step and close an environment in one thread."
            )
        self._renderer.update_scene(data, camera=self._camera)
        return self._to_frame(self._renderer.render())

    def close(self) -> None:
        """Release the GL context; drawing again makes a new one."""
        if self._finalizer is not None:
            self._finalizer()
        self._renderer, self._finalizer = None, None

    def _open(self) -> Any:
        mujoco = prepare_mujoco()
        width_px, height_px = self._drawn_size()
        visual = self._model.vis
        settings: list[tuple[Any, str, int]] = [
            (visual.global_, "offwidth", width_px),
            (visual.global_, "offheight", height_px),
        ]
        if self.quality != "release":
            settings += [
                (visual.quality, "shadowsize", SHADOW_MAP_PX),
                (visual.quality, "offsamples", 0),
                (visual.quality, "numslices", FAST_SLICES),
                (visual.quality, "numstacks", FAST_STACKS),
            ]
        before = [getattr(part, name) for part, name, _ in settings]
        for part, name, value in settings:
            setattr(part, name, value)
        try:
            renderer = mujoco.Renderer(self._model, height_px, width_px)
        except (ImportError, RuntimeError, TypeError, mujoco.FatalError) as error:
            raise _missing_driver(error) from error
        finally:
            for (part, name, _), value in zip(settings, before, strict=True):
                setattr(part, name, value)
        if self.quality != "release" and not self._has_mirrors:
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._owner = threading.get_ident()
        # Also closes at exit, while the graphics library is still there to close with.
        self._finalizer = weakref.finalize(self, renderer.close)
        return renderer

    def _drawn_size(self) -> tuple[int, int]:
        if self.quality == "release":
            return self._release_px, self._release_px
        width_px, height_px = self.frame_spec.width_px, self.frame_spec.height_px
        least = 2 if self.quality == "fast2x" else 1
        factor = max(least, NATIVE_FRAME_PX // max(width_px, height_px))
        return factor * width_px, factor * height_px

    def _to_frame(self, picture: UInt8[np.ndarray, "h1 w1 3"]) -> UInt8[np.ndarray, "h w 3"]:
        if picture.shape == self.frame_spec.shape:
            return picture
        size = (self.frame_spec.width_px, self.frame_spec.height_px)
        if self.quality == "release":
            return reduce_bilinear(picture, self.frame_spec)
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def reduce_bilinear(
    picture: UInt8[np.ndarray, "h1 w1 3"], frame_spec: FrameSpec
) -> UInt8[np.ndarray, "h w 3"]:
    """Reduce a picture as the benchmark does: bilinear with a filter as wide as the reduction.

    Equal to torchvision's anti-aliased resize within one level.
    """
    from PIL import Image

    size = (frame_spec.width_px, frame_spec.height_px)
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def _to_mujoco_camera(camera: Camera) -> Any:
    if not isinstance(camera, FreeCamera):
        return camera
    mujoco = prepare_mujoco()
    view = mujoco.MjvCamera()
    view.type = mujoco.mjtCamera.mjCAMERA_FREE
    view.lookat[:] = camera.look_at
    view.distance = camera.distance
    view.azimuth, view.elevation = camera.azimuth_deg, camera.elevation_deg
    return view


def _missing_driver(error: Exception) -> MissingDriverError:
    backend = os.environ.get("MUJOCO_GL") or "the default back-end"
    return MissingDriverError(
        f"MuJoCo could not open a picture with MUJOCO_GL={backend}. Install the Debian packages "
        f"libegl1 and libgl1 for MUJOCO_GL=egl, or libosmesa6 for MUJOCO_GL=osmesa. The library "
        f"said: {error}"
    )
