"""What the extended tasks pay for, and what their bodies weigh."""

from collections.abc import Callable

import numpy as np
import pytest

from reverie.envs.domains.dmcontrol.game import SuiteGame
from reverie.envs.domains.dmcontrol_ext.tasks import TASKS
from tests.support.simulators import open_task

NAMES = tuple(spec.name for spec in TASKS)
RNG = np.random.default_rng(0)


def open_game(name: str) -> SuiteGame:
    game = open_task(name).game
    assert isinstance(game, SuiteGame)
    return game


def pay_after(name: str, change: Callable[[SuiteGame], None]) -> float:
    """Return what one control step pays in a pose that ``change`` made, without stepping."""
    game = open_game(name)
    game.reset(np.random.default_rng(3))
    with game.physics.reset_context():
        change(game)
    paid = float(game._scene.reward(game.physics))
    game.close()
    return paid


def drift(speed: float, *, lift: float = 0.0) -> Callable[[SuiteGame], None]:
    """Let the whole body move at a speed, lifted off the ground, all joints at zero."""

    def change(game: SuiteGame) -> None:
        data = game.physics.named.data
        data.qpos[:] = 0.0
        data.qvel["rootx"] = speed
        data.qpos["rootz"] = lift

    return change


@pytest.mark.parametrize("name", NAMES)
def test_a_control_step_never_pays_more_than_one(name: str) -> None:
    game = open_game(name)
    rng = np.random.default_rng(1)
    for _ in range(15):
        action = rng.uniform(-1.0, 1.0, len(game._low)).astype(np.float32)
        assert 0.0 <= game.step(action, rng) <= 2.0
    game.close()


@pytest.mark.parametrize(
    ("name", "mass", "motors"),
    [
        ("giraffe-run", 16.0, "bthigh bshin bfoot fthigh fshin ffoot neck"),
        ("spinner-spin", 2.0, "limb_0 limb_1 limb_2 limb_3 limb_4"),
        ("jumper-jump", 2.0, "leg_0 leg_1"),
        ("reacher-three-easy", None, "shoulder0 shoulder1 wrist"),
    ],
)
def test_own_bodies_have_their_mass_and_motors(name: str, mass: float | None, motors: str) -> None:
    game = open_game(name)
    model = game._model
    assert [model.actuator(index).name for index in range(model.nu)] == motors.split()
    if mass is not None:
        assert model.body_subtreemass[0] == pytest.approx(mass)
        assert model.opt.timestep == 0.01
    game.close()


def test_the_giraffe_reads_its_neck_before_its_legs() -> None:
    game = open_game("giraffe-run")
    names = [game._model.joint(index).name for index in range(game._model.njnt)]
    assert names[:5] == ["rootx", "rootz", "rooty", "neck", "bthigh"]
    game.close()


def test_the_three_link_arm_reaches_as_far_as_its_links() -> None:
    game = open_game("reacher-three-hard")
    with game.physics.reset_context():
        game.physics.named.data.qpos[:] = 0.0
    finger = game.physics.named.data.geom_xpos["finger"]
    np.testing.assert_allclose(finger, (0.27, 0.0, 0.01), atol=1e-9)
    assert game.physics.named.model.geom_size["target", 0] == pytest.approx(0.015)
    game.close()


@pytest.mark.parametrize(
    ("name", "slow", "fast"),
    [
        ("cheetah-run-backward", -2.0, -8.0),
        ("walker-walk-backward", 0.0, -1.0),
        ("walker-run-backward", -4.0, -8.0),
        ("hopper-hop-backward", -0.6, -1.0),
    ],
)
def test_backward_tasks_pay_for_speed_backward_only(name: str, slow: float, fast: float) -> None:
    forward, little, full = (pay_after(name, drift(speed)) for speed in (-fast, slow, fast))
    assert forward <= little < full
    if name == "cheetah-run-backward":
        assert (forward, little, full) == (0.0, pytest.approx(0.25), pytest.approx(1.0))
    if name == "hopper-hop-backward":
        assert (little, full) == (pytest.approx(0.6), pytest.approx(1.0))


@pytest.mark.parametrize("name", ["spinner-jump", "jumper-jump"])
def test_jumping_pays_for_the_height_of_the_torso(name: str) -> None:
    low, half, high = (pay_after(name, drift(0.0, lift=lift)) for lift in (0.0, 0.225, 0.7))
    assert high == 1.0
    assert low < half < 1.0
    # 1.125 m is half the margin of 0.75 m below 1.5 m: 0.1 ** 0.25.
    assert half == pytest.approx(0.1**0.25, abs=1e-6)


def test_spinning_pays_both_for_moving_and_for_turning_the_right_way() -> None:
    def roll(direction: float) -> Callable[[SuiteGame], None]:
        def change(game: SuiteGame) -> None:
            drift(9.0 * direction, lift=1.0)(game)
            game.physics.named.data.qvel["rooty"] = 80.0 * direction

        return change

    assert pay_after("spinner-spin", roll(1.0)) == pytest.approx(1.0)
    assert pay_after("spinner-spin", roll(-1.0)) == 0.0
    assert pay_after("spinner-spin-backward", roll(-1.0)) == pytest.approx(1.0)
    assert pay_after("spinner-spin", drift(9.0, lift=1.0)) == pytest.approx(0.6, abs=0.01)


def test_running_on_one_foot_pays_for_the_other_being_high() -> None:
    def rear(pitch: float) -> Callable[[SuiteGame], None]:
        def change(game: SuiteGame) -> None:
            drift(7.0, lift=0.6)(game)
            game.physics.named.data.qpos["rooty"] = pitch

        return change

    nose_down, nose_up = 1.0, -1.0
    assert pay_after("cheetah-run-front", rear(nose_down)) > 0.9
    assert pay_after("cheetah-run-front", rear(nose_up)) < 0.8
    assert pay_after("cheetah-run-back", rear(nose_up)) > 0.9
    assert pay_after("cheetah-run-back", rear(nose_down)) < 0.8
    assert pay_after("cheetah-jump", drift(0.0, lift=1.2)) == pytest.approx(1.0)
    assert pay_after("cheetah-jump", drift(5.0, lift=1.2)) == pytest.approx(5 / 6)


def test_the_giraffe_is_paid_for_speed_with_its_head_up() -> None:
    assert pay_after("giraffe-run", drift(10.0)) == pytest.approx(1.0)
    assert pay_after("giraffe-run", drift(0.0)) == pytest.approx(0.25)
    assert pay_after("giraffe-run", drift(10.0, lift=-1.5)) < 0.01


def test_the_pendulum_is_paid_for_spinning_either_way() -> None:
    def turn(speed: float) -> Callable[[SuiteGame], None]:
        def change(game: SuiteGame) -> None:
            game.physics.named.data.qvel["hinge"] = speed

        return change

    paid = [pay_after("pendulum-spin", turn(speed)) for speed in (-9.0, 9.0, 4.5, 0.0)]
    assert paid == [1.0, 1.0, pytest.approx(0.5), 0.0]


def test_the_cup_is_paid_for_a_fast_ball_outside_and_mostly_begins_with_it_inside() -> None:
    def fling(game: SuiteGame) -> None:
        data = game.physics.named.data
        data.qpos["ball_x"], data.qpos["ball_z"] = 0.5, 0.3
        data.qvel["ball_x"], data.qvel["ball_z"] = 5.0, 4.0

    assert pay_after("cup-spin", fling) == pytest.approx(1.0)
    game = open_game("cup-spin")
    inside = 0
    for seed in range(60):
        game.reset(np.random.default_rng(seed))
        inside += bool(game.physics.in_target())
        assert game._data.ncon == 0
    assert 45 <= inside < 60
    assert game._scene.reward(game.physics) <= 1.0
    game.close()
