"""The close view of CartPole-v1 shows what Gymnasium shows, and plays by its rules."""

from typing import Any

import cv2
import gymnasium
import numpy as np
import pygame
import pytest

from reverie.core.types import FrameSpec
from reverie.envs.domains.closeups.cartpole import (
    FIRST_ROW,
    LAST_ROW,
    SOFTENED_PX,
    draw_cart_pole,
)
from reverie.envs.registry import make_env

TASK = "cartpole-v1-close"


@pytest.fixture
def gym_env() -> Any:
    return gymnasium.make("CartPole-v1", render_mode="rgb_array").unwrapped


def test_every_pixel_is_gymnasiums_softened_from_left_to_right(gym_env: Any) -> None:
    env: Any = make_env(TASK, frame_spec=FrameSpec(height_px=LAST_ROW - FIRST_ROW, width_px=600))
    env.reset(0)
    rng = np.random.default_rng(0)
    for _ in range(60):
        physics = rng.uniform(-1, 1, 4) * np.array([2.6, 1.0, 0.3, 1.0])
        gym_env.state = physics
        env.game.state = {"physics": physics, "is_over": False}
        softened = cv2.blur(gym_env.render()[FIRST_ROW:LAST_ROW], (SOFTENED_PX, 1))
        assert np.array_equal(env.game.draw(rng), softened)


def test_it_plays_by_gymnasiums_rules(gym_env: Any) -> None:
    env = make_env(TASK, frame_spec=FrameSpec(height_px=16, width_px=16))
    env.reset(3)
    gym_env.reset(seed=0)
    gym_env.state = env.observe_state().astype(np.float64)
    rng = np.random.default_rng(1)
    for _ in range(500):
        right = bool(rng.integers(2))
        result = env.step(np.array([0.3 if right else -0.7], np.float32))
        state, reward, terminated, _, _ = gym_env.step(int(right))
        np.testing.assert_allclose(env.observe_state(), state, atol=1e-5)
        assert (result.reward, result.terminated) == (reward, terminated) == (1.0, terminated)
        if terminated:
            break
    else:
        pytest.fail("a random policy fell within 500 steps")


def test_the_angle_can_be_read_from_small_frames_of_the_softened_picture_alone() -> None:
    # Specification: the angle from the area-resampled picture correlates >= 0.995 with the truth.
    surface = pygame.Surface((600, LAST_ROW - FIRST_ROW), depth=32)
    rng = np.random.default_rng(2)
    truth: list[float] = []
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(200):
        position, angle = rng.uniform(-1, 1), rng.normal() * 0.05
        sharp = draw_cart_pole(surface, position, angle)
        soft = cv2.blur(sharp, (SOFTENED_PX, 1))
        truth.append(-np.tan(angle))
        for kind, picture in (("sharp", sharp), ("soft", soft)):
            for size in (32, 64):
                small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
                found.setdefault((kind, size), []).append(_slope(small))
    correlation = {key: np.corrcoef(truth, slopes)[0, 1] for key, slopes in found.items()}
    assert correlation["soft", 32] > 0.995
    assert correlation["soft", 64] > 0.995
    assert correlation["sharp", 32] < 0.95


def _slope(frame: np.ndarray) -> float:
    # The pole is the only thing whose blue is darker than its red.
    weight = np.clip(frame[..., 0].astype(float) - frame[..., 2].astype(float), 0, None)
    size = len(frame)
    # Above the cart, whose axle is purple.
    rows = [row for row in range(size * 5 // 8) if weight[row].sum() > 20]
    centres = [(weight[row] * np.arange(size)).sum() / weight[row].sum() for row in rows]
    return float(np.polyfit(rows, centres, 1)[0])


def test_the_close_take_cover_plays_as_the_whole_one_and_shows_its_middle_rows() -> None:
    pytest.importorskip("vizdoom")
    from reverie.envs.domains.closeups.take_cover import FIRST_ROW, LAST_ROW

    rows = LAST_ROW - FIRST_ROW
    close: Any = make_env("takecover-close", frame_spec=FrameSpec(height_px=rows, width_px=320))
    whole: Any = make_env("VizdoomTakeCover-v1", frame_spec=FrameSpec(height_px=32, width_px=32))
    close.reset(5)
    whole.reset(5)
    rng = np.random.default_rng(2)
    for _ in range(60):
        action = rng.uniform(-1, 1, 1).astype(np.float32)
        results = [env.step(action) for env in (close, whole)]
        assert results[0].reward == results[1].reward
        assert results[0].terminated == results[1].terminated
        np.testing.assert_array_equal(close.observe_state(), whole.observe_state())
        np.testing.assert_array_equal(results[0].frame, whole.game._screen[FIRST_ROW:LAST_ROW])
        if results[0].terminated:
            break
