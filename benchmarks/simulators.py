"""What a step with its 224x224 picture costs: ours against the package's own drawing.

Both sides of a task run in processes of their own, turn about, never at the same time, so that a
busy machine slows both alike; ratios are taken pair by pair. Domains that do not draw with MuJoCo
have one side only: their picture is the package's own there too.

    python benchmarks/simulators.py --json simulators.json
"""

import argparse
import importlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from reverie.core.errors import ReverieError
from reverie.core.types import NATIVE_FRAME_PX, FrameSpec
from reverie.envs.mujoco_renderer import prepare_mujoco, reduce_bilinear
from reverie.envs.registry import make_env, task_spec

Side = Literal["ours", "package"]
Step = Callable[[np.ndarray], object]
"""Takes an action of the task, steps the simulator and draws."""

PAIRED = {
    "dmcontrol": ("walker-walk", "cheetah-run", "cup-catch", "reacher-easy", "quadruped-walk"),
    "dmcontrol-ext": ("spinner-spin", "giraffe-run"),
    "mujoco": ("mujoco-halfcheetah", "mujoco-ant", "mujoco-hopper"),
    "metaworld": ("mw-drawer-open", "mw-push", "mw-reach"),
    "ogbench": ("og-point-maze", "og-ant-maze"),
    "robodesk": ("rd-open-drawer",),
}
"""Tasks whose package draws with MuJoCo as well."""
ALONE = (
    "pygame-pong",
    "bipedal-walker-flat",
    "atari-pong",
    "ms-cartpole-balance",
    "toy-paint",
)
"""One task for each other domain."""
OGBENCH_IDS = {"og-point-maze": "pointmaze-medium-v0", "og-ant-maze": "antmaze-medium-v0"}
OGBENCH_REPEAT = {"og-point-maze": 4, "og-ant-maze": 2}
GYMNASIUM = {
    "mujoco-halfcheetah": ("half_cheetah_v4", "HalfCheetahEnv", 1),
    "mujoco-ant": ("ant_v4", "AntEnv", 2),
    "mujoco-hopper": ("hopper_v4", "HopperEnv", 2),
}
STEPS_PER_TURN = 3
WARM_UP_STEPS = 2


def main() -> None:
    """Measure every domain that is installed; print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=[*sum(PAIRED.values(), ()), *ALONE])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--raster-threads", type=int, default=1, help="LP_NUM_THREADS of Mesa")
    parser.add_argument("--json", type=Path, default=None, help="write the numbers here")
    arguments = parser.parse_args()
    os.environ["LP_NUM_THREADS"] = str(arguments.raster_threads)
    console = Console()
    rows: list[dict[str, Any]] = []
    for task in arguments.tasks:
        try:
            rows.append(measure(task, task_spec(task).domain in PAIRED, arguments.rounds))
            ratio = rows[-1].get("cpu_ratio")
            console.print(f"{task}: {written(ratio) if ratio else 'one side'}")
        except RuntimeError as error:
            console.print(f"{task}: not run: {error}")
        if arguments.json is not None:  # after every task: a stop loses one at most
            numbers = {"raster_threads": arguments.raster_threads, "tasks": rows}
            arguments.json.write_text(json.dumps(numbers, indent=1) + "\n")
    console.print(to_table(rows))


def measure(task: str, is_paired: bool, num_rounds: int) -> dict[str, Any]:
    """Run both sides of a task turn about and return medians with quartiles."""
    sides: tuple[Side, ...] = ("ours", "package") if is_paired else ("ours",)
    children: list[Child] = []
    try:
        children.extend(Child(side, task) for side in sides)
        seconds = np.zeros((len(sides), num_rounds, 2))
        for turn in range(num_rounds):
            order = range(len(sides)) if turn % 2 == 0 else reversed(range(len(sides)))
            for which in order:
                seconds[which, turn] = children[which].run(STEPS_PER_TURN)
    finally:
        for child in children:
            child.stop()
    numbers: dict[str, Any] = {"task": task, "domain": task_spec(task).domain}
    for which, side in enumerate(sides):
        numbers[f"{side}_ms"] = spread(1000 * seconds[which, :, 0])
        numbers[f"{side}_cpu_ms"] = spread(1000 * seconds[which, :, 1])
    if is_paired:
        numbers["ratio"] = spread(seconds[1, :, 0] / seconds[0, :, 0])
        numbers["cpu_ratio"] = spread(seconds[1, :, 1] / seconds[0, :, 1])
    return numbers


class Child:
    """One side of one task in a process of its own."""

    def __init__(self, side: Side, task: str) -> None:
        """Start the process and wait until the simulator stands."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(side, task, theirs))
        self._process.start()
        theirs.close()
        self._receive()

    def run(self, num_steps: int) -> tuple[float, float]:
        """Return wall and CPU seconds per step."""
        self._pipe.send(num_steps)
        return self._receive()

    def stop(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError as error:
            raise RuntimeError("its process ended; the reason is printed above") from error
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer


def serve(side: Side, task: str, pipe: Connection) -> None:
    """Step and draw as often as asked, until the other end closes."""
    try:
        step = make_ours(task) if side == "ours" else make_packages(task)
    except ReverieError as error:
        pipe.send(str(error))
        return
    rng = np.random.default_rng(0)
    width = task_spec(task).action.width

    def play(num_steps: int) -> tuple[float, float]:
        begun = np.array((time.perf_counter(), time.process_time()))
        for _ in range(num_steps):
            step(rng.uniform(-1.0, 1.0, width).astype(np.float32))
        wall, cpu = (np.array((time.perf_counter(), time.process_time())) - begun) / num_steps
        return float(wall), float(cpu)

    pipe.send(play(WARM_UP_STEPS))
    while True:
        try:
            num_steps = pipe.recv()
        except EOFError:
            return
        pipe.send(play(num_steps))


def make_ours(task: str) -> Step:
    """Step our environment; the frame comes with it."""
    env = make_env(task, frame_spec=FrameSpec())
    env.reset(0)

    def step(action: np.ndarray) -> object:
        result = env.step(action)
        if result.terminated or result.truncated:
            env.reset(0)
        return result.frame

    return step


def make_packages(task: str) -> Step:
    """Step the package as the benchmark does and draw by the package's own means."""
    prepare_mujoco()
    domain = task_spec(task).domain
    makers: dict[str, Callable[[str], Step]] = {
        "dmcontrol": make_suite,
        "dmcontrol-ext": make_extended,
        "mujoco": make_gymnasium,
        "metaworld": make_metaworld,
        "ogbench": make_ogbench,
        "robodesk": make_robodesk,
    }
    return makers[domain](task)


def make_suite(task: str) -> Step:
    """Use the suite's environment and ``physics.render`` at 224x224."""
    suite = importlib.import_module("dm_control.suite")
    domain, _, name = task.partition("-")
    env = suite.load({"cup": "ball_in_cup"}.get(domain, domain), name.replace("-", "_"))
    env.reset()
    camera = 2 if domain == "quadruped" else 0
    bounds = env.action_spec()

    def step(action: np.ndarray) -> object:
        scaled = bounds.minimum + 0.5 * (action + 1.0) * (bounds.maximum - bounds.minimum)
        for _ in range(2):
            env.step(scaled)
        return env.physics.render(NATIVE_FRAME_PX, NATIVE_FRAME_PX, camera_id=camera)

    return step


def make_extended(task: str) -> Step:
    """Use our scene, as there is no package, and dm_control's ``physics.render``."""
    env: Any = make_env(task)
    env.game.reset(np.random.default_rng(0))

    def step(action: np.ndarray) -> object:
        env.game.step(action, np.random.default_rng(0))
        return env.game.physics.render(NATIVE_FRAME_PX, NATIVE_FRAME_PX, camera_id=0)

    return step


def make_gymnasium(task: str) -> Step:
    """Draw the library's default 480x480 and reduce it, as the benchmark does."""
    module, kind, repeat = GYMNASIUM[task]
    make = getattr(importlib.import_module(f"gymnasium.envs.mujoco.{module}"), kind)
    env = make(render_mode="rgb_array", camera_name="track")
    env.reset(seed=0)

    def step(action: np.ndarray) -> object:
        for _ in range(repeat):
            env.step(action)
        return reduce_bilinear(env.render(), FrameSpec())

    return step


def make_metaworld(task: str) -> Step:
    """Draw at 224x224, the size of the benchmark's version."""
    scenes = importlib.import_module("metaworld.env_dict").ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE
    name = f"{task.removeprefix('mw-')}-v3-goal-observable"
    env = scenes[name](seed=0, render_mode="rgb_array")
    drawing = env.mujoco_renderer
    drawing.width = drawing.height = NATIVE_FRAME_PX
    drawing.camera_id = env.model.camera("corner4").id
    env._freeze_rand_vec = False
    env.reset()

    def step(action: np.ndarray) -> object:
        for _ in range(2):
            env.step(action)
        return env.render()

    return step


def make_ogbench(task: str) -> Step:
    """Draw the library's maze at 224x224."""
    importlib.import_module("ogbench")
    gymnasium = importlib.import_module("gymnasium")
    env = gymnasium.make(
        OGBENCH_IDS[task],
        render_mode="rgb_array",
        width=NATIVE_FRAME_PX,
        height=NATIVE_FRAME_PX,
    )
    env.reset(seed=0)

    def step(action: np.ndarray) -> object:
        for _ in range(OGBENCH_REPEAT[task]):
            env.step(action)
        return env.render()

    return step


def make_robodesk(task: str) -> Step:
    """Use our desk, whose own observations draw nothing, and dm_control's picture at 224x224."""
    env: Any = make_env(task)
    env.game.reset(np.random.default_rng(0))
    physics = env.game._env.physics

    def step(action: np.ndarray) -> object:
        env.game.step(action, np.random.default_rng(0))
        return physics.render(NATIVE_FRAME_PX, NATIVE_FRAME_PX)

    return step


def spread(values: np.ndarray) -> dict[str, float]:
    """Return median and quartiles."""
    low, median, high = np.percentile(values, (25, 50, 75))
    return {"median": float(median), "low": float(low), "high": float(high)}


def to_table(rows: list[dict[str, Any]]) -> Table:
    """Show medians with quartiles."""
    columns = ("ours_ms", "package_ms", "ratio", "ours_cpu_ms", "package_cpu_ms", "cpu_ratio")
    table = Table("domain", "task", *columns, title="A step and its 224x224 picture")
    for row in rows:
        cells = (written(row[name]) if name in row else "" for name in columns)
        table.add_row(row["domain"], row["task"], *cells)
    return table


def written(value: dict[str, float]) -> str:
    """Write a median with its quartiles."""
    return f"{value['median']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"


if __name__ == "__main__":
    main()
