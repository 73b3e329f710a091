"""Bird attack: shoot a flock of birds; later a boss appears that cannot be hit."""

import math
from dataclasses import dataclass

import numpy as np
import pygame
from jaxtyping import Float32, UInt8

from reverie.envs.domains.miniarcade.canvas import (
    CANVAS_PX,
    bold_text,
    fill_polygon,
    new_canvas,
    new_layer,
    to_frame,
)
from reverie.envs.domains.miniarcade.effects import blend_rect, outline_polygon, unit

AREA_LOW_PX, AREA_SIDE_PX = 20, 184
AREA_HIGH_PX = AREA_LOW_PX + AREA_SIDE_PX
AGENT_WIDTH_PX, AGENT_TOP_PX, AGENT_SPEED_PX = 14, 184, 6.0
AGENT_CENTRE_PX = 188.0
RELOAD_STEPS, STUN_STEPS = 8, 16
BULLET_SPEED_PX = 7.0
NUM_BIRDS, BIRD_WIDTH_PX, BIRD_HEIGHT_PX, BIRD_DROP_PX = 16, 14, 12, 4
DROP_CHANCE = 0.0075
BOSS_START_STEP, BOSS_FIRE_STEPS, BOSS_FADE_STEPS = 250, 50, 5
BOSS_BULLET_RADIUS_PX, BOSS_BULLET_SPEED_PX = 10, 5.0

_ORANGE, _GREY, _WHITE = (255, 140, 0), (200, 200, 200), (255, 255, 255)
_FONT_PX = 18

Place = tuple[float, float]


@dataclass(slots=True)
class Bird:
    """One bird: its top left corner and the hits it still takes."""

    x: float
    y: float
    hits_left: int = 2


@dataclass(slots=True)
class Boss:
    """The boss: its centre, and when it fires."""

    x: float = 112.0
    y: float = 40.0
    fire_timer: int = BOSS_FIRE_STEPS
    fade_in: int = BOSS_FADE_STEPS


@dataclass(kw_only=True, slots=True)
class BirdAttackState:
    """Everything that changes. Pixels and pixels per step; y points down."""

    steps: int
    x: float
    """Left edge of the agent."""
    reload: int
    stun: int
    birds: list[Bird]
    direction: int
    bullets: list[Place]
    bird_bullets: list[Place]
    boss: Boss | None
    boss_bullet: tuple[float, float, float, float] | None
    """Place and velocity."""
    num_shot: int


class BirdAttack:
    """The game. A bird pays 1, being hit costs 2, an empty sky pays 1 a step."""

    def __init__(self) -> None:
        """Start some episode."""
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Line up the birds. Nothing is drawn at random."""
        self.state = BirdAttackState(
            steps=0,
            x=105.0,
            reload=0,
            stun=0,
            birds=[Bird(40.0 + 20 * (k % 8), 40.0 + 20 * (k // 8)) for k in range(NUM_BIRDS)],
            direction=1,
            bullets=[],
            bird_bullets=[],
            boss=None,
            boss_bullet=None,
            num_shot=0,
        )

    def step(self, action: Float32[np.ndarray, " a"], rng: np.random.Generator) -> float:
        """Move and fire, move the birds, settle hits, let the boss act."""
        state = self.state
        self._act(float(action[0]), does_fire=float(action[1]) > 0)
        self._move_birds(rng)
        reward = self._hit_birds() + self._hit_agent()
        self._move_boss(rng)
        reward += self._move_boss_bullet()
        if not state.birds:
            reward += 1.0
        state.steps += 1
        return reward

    def state_vector(self) -> Float32[np.ndarray, " n"]:
        """Return agent, birds, bullets and the boss's bullet."""
        state = self.state
        values = [state.x / CANVAS_PX, state.reload / 5, len(state.birds) / NUM_BIRDS]
        values += [bird.x / CANVAS_PX for bird in state.birds]
        values += [0.0] * (NUM_BIRDS - len(state.birds))
        values += [max((bird.y for bird in state.birds), default=20.0) / CANVAS_PX]
        for bullets, count in ((state.bullets, 5), (state.bird_bullets, 10)):
            flat = [value / CANVAS_PX for place in bullets[:count] for value in place]
            values += flat + [0.0] * (2 * count - len(flat))
        values += [state.stun / 10]
        if state.boss_bullet is None:
            values += [0.0] * 4
        else:
            x, y, velocity_x, velocity_y = state.boss_bullet
            values += [min(max(value / CANVAS_PX, 0.0), 1.0) for value in (x, y)]
            values += [velocity_x / BOSS_BULLET_SPEED_PX, velocity_y / BOSS_BULLET_SPEED_PX]
        return np.array(values, dtype=np.float32)

    def score(self, total_reward: float) -> float:
        """Return the return as a part of 16."""
        return min(max(total_reward / 16, 0.0), 1.0)

    def is_success(self) -> bool:
        """Return False: the benchmark defines no success here."""
        return False

    def is_over(self) -> bool:
        """Return False: the fight ends by its time limit only."""
        return False

    def draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """Draw the fight; a hit agent sees red."""
        state = self.state
        canvas = new_canvas()
        area = (AREA_LOW_PX, AREA_LOW_PX, AREA_SIDE_PX, AREA_SIDE_PX)
        pygame.draw.rect(canvas, _WHITE, area, 2)
        pygame.draw.rect(canvas, _ORANGE, (int(state.x), AGENT_TOP_PX, AGENT_WIDTH_PX, 8))
        muzzle = state.x + AGENT_WIDTH_PX // 2
        top = AGENT_TOP_PX
        fill_polygon(canvas, _ORANGE, [(muzzle - 4, top), (muzzle + 4, top), (muzzle, top - 6)])
        for bird in state.birds:
            _draw_bird(canvas, bird)
        for x, y in state.bullets:
            pygame.draw.rect(canvas, _ORANGE, (int(x - 2), int(y - 6), 4, 6))
        for x, y in state.bird_bullets:
            pygame.draw.rect(canvas, _GREY, (int(x - 2), int(y), 4, 6))
        if state.boss is not None:
            _draw_boss(canvas, state.boss)
        if state.boss_bullet is not None:
            centre = (int(state.boss_bullet[0]), int(state.boss_bullet[1]))
            pygame.draw.circle(canvas, _GREY, centre, BOSS_BULLET_RADIUS_PX)
        color = (80, 200, 110) if state.num_shot >= NUM_BIRDS else _WHITE
        canvas.blit(bold_text(str(state.num_shot), _FONT_PX, color), (24, 0))
        if state.stun > 0:
            blend_rect(canvas, (220, 30, 10, int(140 * state.stun / STUN_STEPS)), area)
        return to_frame(canvas)

    def _act(self, right: float, *, does_fire: bool) -> None:
        state = self.state
        speed = AGENT_SPEED_PX * right * (0.2 if state.stun > 0 else 1.0)
        state.x = min(max(state.x + speed, 20.0), float(AREA_HIGH_PX - AGENT_WIDTH_PX))
        state.stun = max(state.stun - 1, 0)
        if does_fire and state.reload == 0:
            state.bullets.append((state.x + 7, 178.0))
            state.reload = RELOAD_STEPS
        state.reload = max(state.reload - 1, 0)
        moved = [(x, y - BULLET_SPEED_PX) for x, y in state.bullets]
        state.bullets = [(x, y) for x, y in moved if y > AREA_LOW_PX]

    def _move_birds(self, rng: np.random.Generator) -> None:
        state = self.state
        if state.birds:
            last = max(bird.x for bird in state.birds) + BIRD_WIDTH_PX + state.direction
            first = min(bird.x for bird in state.birds) + state.direction
            does_turn = last > AREA_HIGH_PX or first < AREA_LOW_PX
            state.direction *= -1 if does_turn else 1
            for bird in state.birds:
                bird.y += BIRD_DROP_PX * does_turn
                bird.x += 0 if does_turn else state.direction
        for bird in state.birds:
            if rng.random() < DROP_CHANCE:
                state.bird_bullets.append((bird.x + 7, bird.y + 12))
        moved = [(x, y + BULLET_SPEED_PX) for x, y in state.bird_bullets]
        state.bird_bullets = [(x, y) for x, y in moved if y < AREA_HIGH_PX]

    def _hit_birds(self) -> float:
        state, reward = self.state, 0.0
        for bird in state.birds:
            for bullet in state.bullets:
                if abs(bullet[0] - (bird.x + 7)) < 7 and abs(bullet[1] - (bird.y + 6)) < 6:
                    bird.hits_left -= 1
                    state.bullets.remove(bullet)
                    break
            if bird.hits_left <= 0:
                reward += 1.0
                state.num_shot += 1
        state.birds = [bird for bird in state.birds if bird.hits_left > 0]
        return reward

    def _hit_agent(self) -> float:
        state, reward, index = self.state, 0.0, 0
        # As in the release, the bullet after a consumed one is not tested in that step.
        while index < len(state.bird_bullets):
            x, y = state.bird_bullets[index]
            if abs(x - (state.x + 7)) < 7 and abs(y - AGENT_CENTRE_PX) < 4:
                del state.bird_bullets[index]
                state.stun = state.reload = STUN_STEPS
                reward -= 2.0
            index += 1
        return reward

    def _move_boss(self, rng: np.random.Generator) -> None:
        state = self.state
        if state.boss is None and state.steps >= BOSS_START_STEP:
            state.boss = Boss()
        boss = state.boss
        if boss is None:
            return
        if boss.fade_in > 0:
            boss.fade_in -= 1
            return
        boss.x = min(max(112 + float(rng.uniform(-5.52, 5.52)), 52.0), 172.0)
        boss.y = min(max(40 + float(rng.uniform(-1.84, 1.84)), 28.0), 104.0)
        boss.fire_timer -= 1
        if boss.fire_timer <= 0 and state.boss_bullet is None:
            muzzle = (boss.x, boss.y + 8)
            right, down = unit(state.x + 7 - muzzle[0], AGENT_CENTRE_PX - muzzle[1])
            velocity = (BOSS_BULLET_SPEED_PX * right, BOSS_BULLET_SPEED_PX * down)
            state.boss_bullet = (*muzzle, *velocity)
            boss.fire_timer = BOSS_FIRE_STEPS

    def _move_boss_bullet(self) -> float:
        state = self.state
        if state.boss_bullet is None:
            return 0.0
        x, y, velocity_x, velocity_y = state.boss_bullet
        x, y, radius = x + velocity_x, y + velocity_y, BOSS_BULLET_RADIUS_PX
        if x - radius < AREA_LOW_PX or x + radius > AREA_HIGH_PX:
            velocity_x = -velocity_x
        state.boss_bullet = (x, y, velocity_x, velocity_y)
        if y - radius >= AREA_HIGH_PX:
            state.boss_bullet = None
        elif abs(x - (state.x + 7)) < 17 and abs(y - AGENT_CENTRE_PX) < 14:
            state.boss_bullet = None
            state.stun = state.reload = STUN_STEPS
            return -2.0
        return 0.0


def make_game(variant: str) -> BirdAttack:
    """Make the game; it has no variants."""
    if variant:
        raise ValueError(f"Bird attack has no variants, got '{variant}'.")
    return BirdAttack()


def _draw_bird(canvas: pygame.Surface, bird: Bird) -> None:
    x, y = bird.x, bird.y
    shape = [(x, y), (x + 7, y + BIRD_HEIGHT_PX), (x + BIRD_WIDTH_PX, y)]
    if bird.hits_left == 2:
        fill_polygon(canvas, _GREY, shape)
    else:
        outline_polygon(canvas, _GREY, shape, 2)


def _draw_boss(canvas: pygame.Surface, boss: Boss) -> None:
    alpha = 255 if boss.fade_in <= 0 else int(255 * (1 - boss.fade_in / BOSS_FADE_STEPS))
    offsets = ((-32, 8), (-16, -8), (0, 8), (16, -8), (32, 8))
    points = [(math.trunc(boss.x + x), math.trunc(boss.y + y)) for x, y in offsets]
    layer = new_layer(CANVAS_PX, CANVAS_PX)
    pygame.draw.lines(layer, (*_GREY, alpha), False, points, 3)
    canvas.blit(layer, (0, 0))
