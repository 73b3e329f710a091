import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from reverie.core.errors import ConfigError, ReverieError
from reverie.core.types import FrameSpec
from reverie.envs.mujoco_renderer import (
    Camera,
    FreeCamera,
    MujocoRenderer,
    RenderQuality,
    prepare_mujoco,
)
from reverie.envs.mujoco_state import PhysicsState, restore_physics, save_physics

pytest.importorskip("dm_control")

NATIVE = FrameSpec()
SCENES = {"walker": ("walk", 0), "quadruped": ("walk", 2), "ball_in_cup": ("catch", 0)}


class Scene:
    """Two moments of a suite task and the package's own pictures of them.

    Those pictures are drawn first: the package does not notice that others draw in its thread.
    """

    def __init__(self, domain: str) -> None:
        prepare_mujoco()
        from dm_control import suite

        task, self.camera = SCENES[domain]
        self.env = suite.load(domain, task, task_kwargs={"random": 3})
        self.model: Any = self.env.physics.model._model
        self.data: Any = self.env.physics.data._data
        self.env.reset()
        shape = self.env.action_spec().shape
        self.moments: list[tuple[PhysicsState, np.ndarray]] = []
        for push, count in ((0.3, 12), (-1.0, 2)):
            for _ in range(count):
                self.env.step(np.full(shape, push))
            picture = self.env.physics.render(224, 224, camera_id=self.camera).copy()
            self.moments.append((save_physics(self.model, self.data), picture))
        self.own_picture = self.show(0)

    def show(self, moment: int) -> np.ndarray:
        """Go to a moment; return the package's own picture of it."""
        state, picture = self.moments[moment]
        restore_physics(self.model, self.data, state)
        return picture


@pytest.fixture(scope="module", params=SCENES)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(request.param)
    yield scene
    scene.env.close()


def draw(
    scene: Scene,
    quality: RenderQuality = "fast",
    frame_spec: FrameSpec = NATIVE,
    camera: Camera | None = None,
) -> np.ndarray:
    camera = scene.camera if camera is None else camera
    renderer = MujocoRenderer(scene.model, frame_spec, camera=camera, quality=quality)
    frame = renderer.draw(scene.data)
    renderer.close()
    return frame


def difference(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left.astype(float) - right.astype(float)).mean())


def test_release_quality_is_the_package_s_own_picture_to_the_last_bit(scene: Scene) -> None:
    np.testing.assert_array_equal(draw(scene, "release"), scene.own_picture)


@pytest.mark.parametrize("quality", ["fast", "fast2x"])
def test_fast_pictures_stay_close_to_the_package_s_own(
    scene: Scene, quality: RenderQuality
) -> None:
    assert difference(draw(scene, quality), scene.own_picture) < 1.2
    moved = scene.show(1)
    ours = draw(scene, quality)
    scene.show(0)
    assert difference(ours, moved) < 1.2
    # Not merely alike on the whole: what moved is where it should be.
    where = np.abs(moved.astype(int) - scene.own_picture.astype(int)).max(axis=-1) > 30
    assert where.any()
    assert difference(ours[where], moved[where]) < 0.5 * difference(
        ours[where], scene.own_picture[where]
    )


@pytest.mark.parametrize("quality", ["release", "fast", "fast2x"])
def test_frames_have_the_wanted_size_and_show_the_same_scene(
    scene: Scene, quality: RenderQuality
) -> None:
    small = draw(scene, quality, FrameSpec(height_px=56, width_px=56))
    assert small.shape == (56, 56, 3)
    reduced = scene.own_picture.reshape(56, 4, 56, 4, 3).mean(axis=(1, 3))
    assert difference(small, reduced) < 1.5
    assert draw(scene, quality, FrameSpec(height_px=37, width_px=91)).shape == (37, 91, 3)


def test_drawing_leaves_model_and_state_alone(scene: Scene) -> None:
    quality = scene.model.vis.quality
    settings = (quality.shadowsize, quality.offsamples, quality.numslices, quality.numstacks)
    size = (scene.model.vis.global_.offwidth, scene.model.vis.global_.offheight)
    state = save_physics(scene.model, scene.data)
    draw(scene, "fast2x")
    assert settings == (
        quality.shadowsize,
        quality.offsamples,
        quality.numslices,
        quality.numstacks,
    )
    assert size == (scene.model.vis.global_.offwidth, scene.model.vis.global_.offheight)
    assert_same_state(save_physics(scene.model, scene.data), state)


def test_a_free_camera_looks_where_it_is_told(scene: Scene) -> None:
    middle = tuple(float(value) for value in scene.data.xpos[1:].mean(axis=0))
    near = draw(scene, camera=FreeCamera(look_at=middle, distance=2.0))
    far = draw(scene, camera=FreeCamera(look_at=middle, distance=4.0))
    assert difference(near, far) > 3.0


def test_another_thread_is_refused_by_text(scene: Scene) -> None:
    renderer = MujocoRenderer(scene.model, NATIVE, camera=scene.camera)
    renderer.draw(scene.data)
    caught: list[Exception] = []

    def draw_elsewhere() -> None:
        try:
            renderer.draw(scene.data)
        except ReverieError as error:
            caught.append(error)

    thread = threading.Thread(target=draw_elsewhere)
    thread.start()
    thread.join()
    assert "in one thread" in str(caught[0])
    renderer.close()


def test_closing_twice_is_harmless_and_drawing_again_reopens(scene: Scene) -> None:
    renderer = MujocoRenderer(scene.model, NATIVE, camera=scene.camera)
    first = renderer.draw(scene.data)
    renderer.close()
    renderer.close()
    np.testing.assert_array_equal(renderer.draw(scene.data), first)
    renderer.close()


def test_an_unknown_quality_is_refused_with_the_names(
    scene: Scene, without_shape_checks: None
) -> None:
    with pytest.raises(ConfigError, match="release, fast, fast2x"):
        MujocoRenderer(scene.model, NATIVE, camera=0, quality="nice")  # pyright: ignore


def assert_same_state(left: PhysicsState, right: PhysicsState) -> None:
    np.testing.assert_array_equal(left.integration, right.integration)
    for one, other in zip(left.places, right.places, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(left.furniture, right.furniture, strict=True):
        np.testing.assert_array_equal(one, other)


def test_restored_physics_go_on_bit_for_bit(scene: Scene) -> None:
    rng = np.random.default_rng(0)
    controls = rng.uniform(-1.0, 1.0, (40, scene.model.nu))
    mujoco = prepare_mujoco()

    def play() -> list[PhysicsState]:
        states = []
        for control in controls:
            scene.data.ctrl[:] = control
            # Leaves the places one step behind, unlike dm_control's own stepping.
            mujoco.mj_step(scene.model, scene.data, nstep=3)
            states.append(save_physics(scene.model, scene.data))
        return states

    play()
    saved = save_physics(scene.model, scene.data)
    first = play()
    for _ in range(2):
        scene.model.geom_rgba[:] = 0.5
        restore_physics(scene.model, scene.data, saved)
        assert_same_state(save_physics(scene.model, scene.data), saved)
        for one, other in zip(play(), first, strict=True):
            assert_same_state(one, other)
    scene.show(0)


def in_fresh_interpreter(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    kept = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **environment},
    )


CHOOSING = """
import os
import reverie.envs.mujoco_renderer as ours
assert "MUJOCO_GL" not in os.environ
import sys; assert "mujoco" not in sys.modules
ours.prepare_mujoco()
print(os.environ["MUJOCO_GL"])
"""
TOO_LATE = """
import mujoco
from reverie.envs.mujoco_renderer import prepare_mujoco
prepare_mujoco()
"""
AT_EXIT = """
from reverie.core.types import FrameSpec
from reverie.envs.mujoco_renderer import MujocoRenderer, prepare_mujoco
mujoco = prepare_mujoco()
model = mujoco.MjModel.from_xml_string(
    '<mujoco><worldbody><light pos="0 0 3"/><geom size=".1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = MujocoRenderer(model, FrameSpec(), camera=-1)
print(renderer.draw(data).shape)
"""


def test_the_back_end_is_chosen_by_the_first_factory_and_not_at_import() -> None:
    done = in_fresh_interpreter(CHOOSING)
    assert (done.stdout.strip(), done.stderr) == ("egl", "")


def test_mujoco_imported_too_early_is_refused_by_text() -> None:
    done = in_fresh_interpreter(TOO_LATE)
    assert "Set MUJOCO_GL=egl before Python starts" in done.stderr
    assert in_fresh_interpreter(TOO_LATE, MUJOCO_GL="egl").returncode == 0


def test_a_missing_graphics_library_is_named() -> None:
    # Stands for a machine without libegl1: PyOpenGL looks for no file that exists.
    hide = "import ctypes, ctypes.util\nctypes.util.find_library = lambda name: None\n"
    hide += "real = ctypes.CDLL.__init__\n"
    hide += "def missing(self, name=None, *rest, **more):\n"
    hide += "    if name and 'GL' in str(name): raise OSError(f'{name}: cannot open')\n"
    hide += "    real(self, name, *rest, **more)\n"
    hide += "ctypes.CDLL.__init__ = missing\n"
    done = in_fresh_interpreter(hide + AT_EXIT)
    assert "MissingDriverError: MuJoCo could not open a picture with MUJOCO_GL=egl" in done.stderr
    assert "libegl1 and libgl1" in done.stderr


def test_leaving_without_closing_prints_nothing() -> None:
    done = in_fresh_interpreter(AT_EXIT)
    assert (done.stdout.strip(), done.stderr) == ("(224, 224, 3)", "")
