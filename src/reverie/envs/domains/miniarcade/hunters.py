"""Scripted experts of the games about meeting or avoiding what moves, from state vectors alone."""

import math
from collections import deque
from functools import cache

import numpy as np
from jaxtyping import Float32

from reverie.envs.domains.miniarcade.canvas import CANVAS_PX
from reverie.envs.domains.miniarcade.effects import unit
from reverie.envs.domains.miniarcade.games import (
    bird_attack,
    chase_evade,
    coconut_dodge,
    dungeon_explorer,
    highway,
    landing,
)
from reverie.envs.domains.miniarcade.runner import JUMP_PX, RUNNER_LEFT_PX, STANDING_PX, jump

State = Float32[np.ndarray, " n"]
Point = tuple[float, float]

JUMP_NEAR_PX, JUMP_FAR_PX = 88.0, 130.0
"""Left edges of cacti at which a full jump clears every group."""
JUMP_STRENGTHS = (0.0, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
MAX_JUMP_DELAY, JUMP_STEPS = 6, 34
SHIP_HOME_PX = 56.0
ROCKET_GAIN, ROCKET_BRAKE = 0.06, 0.5
KEEP_CLEAR_PX = 46.0
"""From here on asteroids push the rocket away."""
STRIKE_PX = 33.0
DODGE_STEPS, DODGE_PX = 45, 24.0


def jump_cacti(state: State) -> tuple[float]:
    """Jump with full strength when the next cacti are near enough to be cleared."""
    left = float(state[2]) * CANVAS_PX
    return (1.0 if JUMP_NEAR_PX < left <= JUMP_FAR_PX else 0.0,)


def jump_for_coins(state: State) -> tuple[float]:
    """Try jumps of several strengths, now or a little later; take the one that takes most coins."""
    y, velocity_y = STANDING_PX + float(state[0]) * CANVAS_PX, float(state[1]) * 10
    if y < STANDING_PX - 0.01:
        return (0.0,)
    places = state[2:].reshape(-1, 2) * CANVAS_PX
    coins = [(float(a), float(b)) for a, b in places if b > 0 and a > 0]
    best, choice = -1.0, 0.0
    for delay in range(MAX_JUMP_DELAY):
        for strength in JUMP_STRENGTHS[1:]:
            gain = _coins_taken((y, velocity_y), coins, delay, strength) - 0.01 * delay
            if gain > best:
                best, choice = gain, strength if delay == 0 else 0.0
    return (choice if best > 0.5 and coins else 0.0,)


def _coins_taken(
    body: tuple[float, float], coins: list[Point], delay: int, strength: float
) -> float:
    (y, velocity_y), left, taken = body, coins, 0
    for step in range(delay + int(2 * JUMP_PX * strength) + 3):
        y, velocity_y, _ = jump(y, velocity_y, strength if step == delay else 0.0)
        shift = 10 * (step + 1)
        kept = [
            (coin_x, coin_y)
            for coin_x, coin_y in left
            if not (
                RUNNER_LEFT_PX - 9 < coin_x - shift < RUNNER_LEFT_PX + 27
                and y - 9 < coin_y < y + 39
            )
        ]
        taken += len(left) - len(kept)
        left = kept
    return float(taken)


def fly_to_coins(state: State) -> tuple[float, float]:
    """Hold the ship's place, meet the next coin in height, and give way to the asteroid."""
    x, y = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX + 9
    velocity_x, velocity_y = float(state[2]) * 10, float(state[3]) * 10
    places = state[4:12].reshape(-1, 2) * CANVAS_PX
    ahead = [(float(a), float(b)) for a, b in places if b > 0 and a > x - 5]
    target = min(ahead)[1] if ahead else 112.0
    rock_x, rock_y = (float(value) * CANVAS_PX for value in state[12:14])
    is_near = rock_x > 0 and x - 20 < rock_x < x + 130
    if is_near and abs(target - rock_y) < 38:
        side = 1.0 if y > rock_y else -1.0
        if not 45 < rock_y < 180:
            side = 1.0 if rock_y < 112 else -1.0
        target = rock_y + 42 * side
    push_x = 0.05 * (SHIP_HOME_PX - x) - 0.5 * velocity_x
    return push_x, 0.12 * (target - y) - 0.9 * velocity_y


def shoot_birds(state: State) -> tuple[float, float]:
    """Always fire; stand where a bullet will meet a bird, unless a bullet is about to hit."""
    centre = float(state[0]) * CANVAS_PX + 7
    birds = [float(value) * CANVAS_PX for value in state[3:19] if value > 0]
    lowest = float(state[19]) * CANVAS_PX
    bullets = state[30:50].reshape(-1, 2) * CANVAS_PX
    threats = [(float(a), float(b)) for a, b in bullets if b > 120]
    boss_x, boss_y = (float(value) * CANVAS_PX for value in state[51:53])
    targets = _meeting_places(birds, lowest) or [112.0]
    best, choice = math.inf, 0.0
    for move in (-1.0, -0.5, 0.0, 0.5, 1.0):
        cost = 0.0
        for step in range(1, 12):
            x = min(max(centre + move * bird_attack.AGENT_SPEED_PX * step, 27.0), 197.0)
            for bullet_x, bullet_y in threats:
                height = abs(bullet_y + 7 * step - bird_attack.AGENT_CENTRE_PX)
                cost += 100 * (abs(bullet_x - x) < 9 and height < 5)
            if boss_y > 0:
                ball_x = boss_x + step * 5 * float(state[53])
                height = abs(boss_y + step * 5 * float(state[54]) - bird_attack.AGENT_CENTRE_PX)
                cost += 100 * (abs(ball_x - x) < 20 and height < 17)
        arrival = min(max(centre + move * bird_attack.AGENT_SPEED_PX, 27.0), 197.0)
        cost += min(abs(arrival - target) for target in targets)
        if cost < best:
            best, choice = cost, move
    return choice, 1.0


def _meeting_places(birds: list[float], lowest: float) -> list[float]:
    # The flock turns and sinks by 4 at each wall, so its height tells where it flies. Birds are
    # listed row by row: a step back to the left is the beginning of the lower row.
    has_two_rows = any(after <= before for before, after in zip(birds, birds[1:], strict=False))
    num_turns = round((lowest - (60 if has_two_rows else 40)) / 4)
    direction = 1 if num_turns % 2 == 0 else -1
    flight = (178 - lowest - 6) / bird_attack.BULLET_SPEED_PX
    places: list[float] = []
    for bird in birds:
        room = 190 - max(birds) if direction > 0 else min(birds) - 20
        ahead = flight if flight <= room else 2 * room - flight
        places.append(min(max(bird + 7 + direction * ahead, 27.0), 197.0))
    return places


def drive(state: State) -> tuple[float, float]:
    """Keep to the middle of the lane with the most room, and change only past free places."""
    x, centre = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX
    velocity_x, velocity_y = float(state[2]) * 10, float(state[3]) * 10
    lane = highway.lane_at(centre)
    room = [400.0] * highway.NUM_LANES
    is_beside = [False] * highway.NUM_LANES
    for car_x, car_y, is_truck in state[12:].reshape(-1, 3):
        if car_y < 0:
            continue
        left, length = float(car_x) * CANVAS_PX, 56 if is_truck else 28
        other = highway.lane_at(float(car_y) * CANVAS_PX)
        if left + length > x - 6:
            room[other] = min(room[other], left - x - highway.CAR_WIDTH_PX)
            is_beside[other] = is_beside[other] or left - x - highway.CAR_WIDTH_PX < 70
    best, choice = -math.inf, lane
    for other in range(highway.NUM_LANES):
        way = range(min(lane, other), max(lane, other) + 1)
        is_blocked = any(is_beside[between] for between in way if between != lane)
        value = room[other] - 30 * abs(other - lane) - 500 * is_blocked
        if value > best:
            best, choice = value, other
    target = highway.lane_centre(choice)
    return 0.05 * (4 - x) - 0.3 * velocity_x, 0.15 * (target - centre) - 0.9 * velocity_y


def land(state: State) -> tuple[float, float]:
    """Fly over the deck, follow it, sink slowly, and stay in its middle."""
    x, y = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX
    velocity_x, velocity_y = float(state[2]) * 10, float(state[3]) * 10
    ship, ship_velocity = float(state[4]) * CANVAS_PX, float(state[6]) * 5
    aside = ship - (x + landing.WIDTH_PX / 2)
    wanted_x = ship_velocity + min(max(0.12 * aside, -6.0), 6.0)
    above = landing.LANDED_PX - y
    if abs(aside) > 26 and above > 2:
        wanted_y = min(max(0.1 * (above - 25), -3.0), 5.0)
    else:
        wanted_y = min(max(0.12 * above, 0.25), 4.0)
    lift = landing.GRAVITY_PX / landing.THRUST
    push_y = (wanted_y / landing.DAMPING - velocity_y) / landing.THRUST - lift
    return (wanted_x / landing.DAMPING - velocity_x) / landing.THRUST, push_y


def play_hockey(state: State) -> tuple[float, float]:
    """Guard the mouth; get behind a puck in the own half and strike it up the rink."""
    puck_x, puck_y = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX
    velocity_x, velocity_y = float(state[2]) * 12, float(state[3]) * 12
    x, y = float(state[4]) * CANVAS_PX, float(state[5]) * CANVAS_PX
    target = (112 + 0.5 * (puck_x - 112), 145.0)
    if puck_y > 108:
        back = unit(puck_x - 112, puck_y - 14)
        is_behind = y > puck_y + 6
        if is_behind and math.hypot(x - puck_x, y - puck_y) < STRIKE_PX:
            target = (puck_x + velocity_x - 2 * back[0], puck_y + velocity_y - 10 * back[1])
        elif y <= puck_y + 2:
            target = (puck_x + (22 if x > puck_x else -22), 190.0)
        else:
            seen = (_mirrored(puck_x + 3 * velocity_x), puck_y + 3 * velocity_y)
            target = (seen[0] + 18 * back[0], min(seen[1] + 18 * back[1], 190.0))
    return (target[0] - x) / 7.5, (target[1] - y) / 7.5


def _mirrored(x: float) -> float:
    if x < 39:
        return 78 - x
    return 370 - x if x > 185 else x


def fly_rocket(state: State) -> tuple[float, float]:
    """Fly to the coin as if to stop there, pushed aside by asteroids that come near."""
    x, y = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX
    velocity = (float(state[2]) * 4, float(state[3]) * 4)
    way = (float(state[6]) * CANVAS_PX, float(state[7]) * CANVAS_PX)
    push = [ROCKET_GAIN * way[i] - ROCKET_BRAKE * velocity[i] for i in (0, 1)]
    length = max(math.hypot(*push), 1e-6)
    push = [value / max(length, 0.3) for value in push]
    for rock in state[9:].reshape(-1, 4):
        if not rock.any():
            continue
        for steps in (0, 4, 8):
            off_x = (
                x + steps * velocity[0] - CANVAS_PX * float(rock[0]) - 4 * steps * float(rock[2])
            )
            off_y = (
                y + steps * velocity[1] - CANVAS_PX * float(rock[1]) - 4 * steps * float(rock[3])
            )
            gap = max(math.hypot(off_x, off_y), 1.0)
            if gap < KEEP_CLEAR_PX:
                push[0] += 3.0 * (KEEP_CLEAR_PX - gap) / KEEP_CLEAR_PX * off_x / gap
                push[1] += 3.0 * (KEEP_CLEAR_PX - gap) / KEEP_CLEAR_PX * off_y / gap
    return push[0], push[1]


def chase_or_evade(state: State) -> tuple[float, float]:
    """Look some steps ahead in many directions: away from the chaser, or towards the evader."""
    x, y = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX
    other = (float(state[4]) * CANVAS_PX, float(state[5]) * CANVAS_PX)
    is_evading = state[8] > 0.5
    obstacles = [(float(a), float(b)) for a, b in state[9:].reshape(-1, 2) * CANVAS_PX]
    speed = chase_evade.EVADER_SPEED_PX if is_evading else chase_evade.SPEED_PX
    best, choice = -math.inf, (0.0, 0.0)
    for index in range(24):
        angle = 2 * math.pi * index / 24
        right, down = math.cos(angle), math.sin(angle)
        # Each axis has its own limit, so a diagonal step is longer.
        longest = max(abs(right), abs(down))
        action = (right / longest, down / longest)
        value = _chase_value((x, y), other, action, speed, obstacles)
        value = value if is_evading else -value
        if value > best:
            best, choice = value, action
    return choice


def _chase_value(
    place: Point, other: Point, action: Point, speed: float, obstacles: list[Point]
) -> float:
    # The other one is taken to run straight at the place if it chases, else to stand still.
    is_evading = speed == chase_evade.EVADER_SPEED_PX
    (x, y), (other_x, other_y), total = place, other, 0.0
    for step in range(1, 13):
        x, y = x + speed * action[0], y + speed * action[1]
        reach = math.dist((x, y), chase_evade.CENTRE)
        if reach > chase_evade.WALK_RADIUS_PX:
            part = chase_evade.WALK_RADIUS_PX / reach
            x = chase_evade.CENTRE[0] + part * (x - chase_evade.CENTRE[0])
            y = chase_evade.CENTRE[1] + part * (y - chase_evade.CENTRE[1])
        for ob_x, ob_y in obstacles:
            gap = max(math.hypot(x - ob_x, y - ob_y), 1e-6)
            if gap < 20:
                x, y = ob_x + 20 * (x - ob_x) / gap, ob_y + 20 * (y - ob_y) / gap
        distance = math.hypot(x - other_x, y - other_y)
        if is_evading:
            stride = min(chase_evade.SPEED_PX, distance) / max(distance, 1e-6)
            other_x, other_y = other_x + stride * (x - other_x), other_y + stride * (y - other_y)
            total -= 200 * (distance < 18) / step
        total += distance
    return total


def dodge_coconuts(state: State) -> tuple[float]:
    """Compare walks of two parts by how near they come to coconuts; take the first part."""
    x = coconut_dodge.AREA_LOW_PX + coconut_dodge.AREA_SIDE_PX * float(state[0])
    walks = _walks(x, float(state[1]) * coconut_dodge.MAX_SPEED_PX)
    steps = np.arange(1, DODGE_STEPS + 1)
    cost = 0.002 * np.abs(walks - 112.0).mean(axis=1)
    for place_x, place_y, speed_x, speed_y in state[5:].reshape(-1, 4):
        top = coconut_dodge.AREA_LOW_PX + coconut_dodge.AREA_SIDE_PX * float(place_y)
        if speed_y <= 0 or top > 203:
            continue
        left = coconut_dodge.AREA_LOW_PX + coconut_dodge.AREA_SIDE_PX * float(place_x)
        across = np.clip(left + steps * float(speed_x) * 5, 19.0, 205.0)
        height = top + steps * float(speed_y) * 5
        gap = np.hypot(walks - across, height - coconut_dodge.AGENT_Y_PX)
        gap = np.where(height > 206, 99.0, gap)
        cost += np.maximum(DODGE_PX - gap, 0.0).sum(axis=1)
    return (_WALK_PLANS[int(np.argmin(cost))][0],)


_WALK_PLANS = [
    (first, num_steps, second)
    for first in (0.0, -1.0, 1.0, -0.4, 0.4)
    for num_steps in (4, 10, 18)
    for second in (0.0, -1.0, 1.0)
]
"""Push, for how many steps, and the push after them."""


def _walks(x: float, velocity: float) -> np.ndarray:
    places = np.full(len(_WALK_PLANS), x)
    speeds = np.full(len(_WALK_PLANS), velocity)
    first, num_steps, second = (np.array(column) for column in zip(*_WALK_PLANS, strict=True))
    walks: list[np.ndarray] = []
    for step in range(DODGE_STEPS):
        push = np.where(step < num_steps, first, second)
        speeds = np.clip((speeds + coconut_dodge.THRUST * push) * coconut_dodge.DAMPING, -5.0, 5.0)
        places = np.clip(places + speeds, 21.0, 203.0)
        walks.append(places)
    return np.stack(walks, axis=1)


def forage(state: State) -> tuple[float, float]:
    """Fetch the nearest log, then carry it home."""
    x, y = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX
    targets = [(float(state[4]) * CANVAS_PX, float(state[5]) * CANVAS_PX)]
    if state[6] < 0.5:
        logs = state[7:].reshape(-1, 3)
        targets = [(float(a) * CANVAS_PX, float(b) * CANVAS_PX) for a, b, lies in logs if lies > 0]
    right, down = min((math.hypot(a - x, b - y), a - x, b - y) for a, b in targets)[1:]
    longest = max(abs(right), abs(down), 4.0)
    return right / longest, down / longest


def explore(state: State) -> tuple[float, float]:
    """Walk the shortest way to the chest through the maze, which it knows."""
    x, y = float(state[0]) * CANVAS_PX, float(state[1]) * CANVAS_PX
    if state[6] > 0.5:
        return 0.0, 0.0
    side = dungeon_explorer.AREA_SIDE_PX
    chest = (x + float(state[4]) * side, y + float(state[5]) * side)
    goal = dungeon_explorer.cell_at(*chest)
    target = dungeon_explorer.cell_centre(_next_cell(dungeon_explorer.cell_at(x, y), goal))
    return (target[0] - x) / 2, (target[1] - y) / 2


@cache
def _next_cell(here: tuple[int, int], goal: tuple[int, int]) -> tuple[int, int]:
    layout = dungeon_explorer.LAYOUTS["1"]
    queue, seen = deque([goal]), {goal}
    while queue and here != goal:
        row, column = cell = queue.popleft()
        around = ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1))
        for neighbour in around:
            if neighbour == here:
                return cell
            if layout[neighbour[0]][neighbour[1]] == "." and neighbour not in seen:
                seen.add(neighbour)
                queue.append(neighbour)
    return goal


def catch_fish(state: State) -> tuple[float, float]:
    """Swim to where the nearest fish will be, and around the whirlpool."""
    x, y = 14 + 196 * float(state[0]), 14 + 196 * float(state[1])
    velocity = (float(state[2]) * 3.4, float(state[3]) * 3.4)
    best, way = math.inf, (0.0, 0.0)
    for right, down, speed_x, speed_y, _ in state[4:39].reshape(-1, 5):
        lead = math.hypot(196 * float(right), 196 * float(down)) / 3.4
        ahead = min(lead, 20.0) * 2
        off = (
            196 * float(right) + ahead * float(speed_x),
            196 * float(down) + ahead * float(speed_y),
        )
        # A fish near the whirlpool is left alone.
        depth = math.hypot(x + off[0] - 112, y + off[1] - 112)
        cost = math.hypot(*off) + (300 if depth < 36 else 0)
        if cost < best:
            best, way = cost, off
    push = [way[i] / max(math.hypot(*way), 4.0) - 0.1 * velocity[i] for i in (0, 1)]
    out = (x - 112, y - 112)
    distance = max(math.hypot(*out), 1.0)
    if distance < 50:
        inward = -(push[0] * out[0] + push[1] * out[1]) / distance
        for axis in (0, 1):
            push[axis] += (max(inward, 0.0) + (50 - distance) / 25) * out[axis] / distance
    return push[0], push[1]


CONTROLLERS = {
    "pygame-cowboy": jump_cacti,
    "pygame-coinrun": jump_for_coins,
    "pygame-spaceship": fly_to_coins,
    "pygame-bird-attack": shoot_birds,
    "pygame-highway": drive,
    "pygame-landing": land,
    "pygame-air-hockey": play_hockey,
    "pygame-rocket-collect": fly_rocket,
    "pygame-chase-evade": chase_or_evade,
    "pygame-coconut-dodge": dodge_coconuts,
    "pygame-foraging": forage,
    "pygame-dungeon-explorer1": explore,
    "pygame-whirlpool": catch_fish,
}
