import gc
import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

import numpy as np
import pytest

from reverie.serve.protocol import (
    Act,
    Frame,
    Notice,
    Pause,
    Problem,
    Reseed,
    Reset,
    SetAutopilot,
    SetRate,
    Shown,
    Start,
    Started,
    StepOnce,
)
from reverie.serve.session import Outgoing, Session, SessionConfig
from reverie.serve.show import Show
from reverie.serve.stage import psnr
from tests.support.serve_worlds import make_shift_show

TASK = "toy-paint"
CONTEXT = 3


class Player:
    """A session with a hand-wound clock."""

    def __init__(self, show: Show, *, seed: int = 7) -> None:
        self.now_s = 0.0
        config = SessionConfig(rate_hz=10.0, context_frames=CONTEXT)
        library = {show.name: show}
        self.session = Session(library, root_seed=seed, clock=lambda: self.now_s, config=config)

    def start(self, task: str = TASK, seed: int | None = 5) -> tuple[Outgoing, ...]:
        return self.session.handle(Start(model="shift", task=task, seed=seed))

    def tick(self, num_ticks: int = 1) -> list[Shown]:
        shown: list[Shown] = []
        for _ in range(num_ticks):
            self.now_s += 0.11
            shown += [item for item in self.session.tick(self.now_s) if isinstance(item, Shown)]
        return shown

    def frame(self) -> Frame:
        return self.tick()[-1].frame


@pytest.fixture(scope="module")
def show() -> Show:
    return make_shift_show()


@pytest.fixture
def player(show: Show) -> Iterator[Player]:
    player = Player(show)
    yield player
    player.session.close()


def problem_text(outgoing: tuple[Outgoing, ...]) -> str:
    assert len(outgoing) == 1
    assert isinstance(outgoing[0], Problem)
    return outgoing[0].text


def test_the_welcome_lists_models_tasks_and_keys(player: Player) -> None:
    welcome = player.session.welcome()
    (model,) = welcome.models
    assert (model.name, model.height_px, model.max_context) == ("shift", 64, 4)
    assert [task.name for task in model.tasks] == ["toy-paint", "toy-fall"]
    assert model.tasks[0].instruction
    assert any("ArrowLeft" in item.keys for item in model.tasks[0].keys)


def test_starting_says_the_seed_and_the_limits_and_shows_the_first_frame(player: Player) -> None:
    started, shown = player.start()
    assert isinstance(started, Started)
    assert isinstance(shown, Shown)
    assert (started.task, started.seed, started.context_frames) == (TASK, 5, CONTEXT)
    assert [limit.name for limit in started.thresholds] == ["u_r", "u_f", "u_s"]
    assert shown.frame.phase == "context"
    assert np.array_equal(shown.real, shown.dream)


def test_the_dream_begins_when_the_context_is_gathered(player: Player) -> None:
    player.start()
    frames = [shown.frame for shown in player.tick(5)]
    assert [frame.phase for frame in frames] == ["context", *["dream"] * 4]
    assert [frame.horizon for frame in frames] == [0, 0, 1, 2, 3]
    assert [frame.context_seen for frame in frames] == [2, 3, 3, 3, 3]


def test_both_worlds_get_the_same_action_and_readings_come_with_the_dream(player: Player) -> None:
    player.start()
    player.session.handle(Act(values=(0.25, -1.0)))
    shown = player.tick(CONTEXT + 2)[-1]
    assert shown.frame.action == (0.25, -1.0)
    assert [reading.name for reading in shown.frame.readings] == ["u_r", "u_f", "u_s"]
    assert all(reading.normalised is not None for reading in shown.frame.readings)
    assert shown.frame.level in ("green", "yellow", "red")
    assert shown.frame.psnr_db == pytest.approx(psnr(shown.real, shown.dream))


def test_opposite_keys_move_the_dream_to_different_places(show: Show) -> None:
    pictures = []
    for value in (-1.0, 1.0):
        player = Player(show)
        player.start()
        player.tick(CONTEXT)
        player.session.handle(Act(values=(value, 0.0)))
        pictures.append(player.tick(4)[-1].dream)
    assert np.abs(pictures[0].astype(float) - pictures[1]).mean() > 5


def test_the_latest_action_wins(player: Player) -> None:
    player.start()
    player.session.handle(Act(values=(-1.0, 0.0)))
    player.session.handle(Act(values=(1.0, 0.5)))
    assert player.frame().action == (1.0, 0.5)


def test_reset_takes_a_new_seed_unless_one_is_given(player: Player) -> None:
    player.start()
    player.tick(6)
    started, shown = player.session.handle(Reset())
    assert isinstance(started, Started)
    assert isinstance(shown, Shown)
    assert started.seed != 5
    assert (shown.frame.episode, shown.frame.episode_step, shown.frame.horizon) == (2, 0, 0)
    again, first = player.session.handle(Reset(seed=5))
    assert isinstance(again, Started)
    assert isinstance(first, Shown)
    assert again.seed == 5
    fresh = Player(make_shift_show()).start()[1]
    assert isinstance(fresh, Shown)
    assert np.array_equal(first.real, fresh.real)


def test_reseeding_starts_the_dream_from_the_present_real_frame(player: Player) -> None:
    player.start()
    player.session.handle(Act(values=(1.0, 1.0)))
    before = player.tick(20)[-1]
    (after,) = player.session.handle(Reseed())
    assert isinstance(after, Shown)
    assert before.frame.horizon > 10
    assert after.frame.horizon == 0
    assert after.frame.episode_step == before.frame.episode_step
    assert np.array_equal(after.real, before.real)
    assert after.frame.psnr_db is not None
    assert before.frame.psnr_db is not None
    assert after.frame.psnr_db > before.frame.psnr_db + 3
    assert player.frame().horizon == 1


def test_reseeding_before_the_dream_says_how_many_frames_are_missing(player: Player) -> None:
    player.start()
    (notice,) = player.session.handle(Reseed())
    assert notice == Notice(text="The dream needs 2 more real frames before it begins.")


def test_a_paused_session_moves_only_by_single_steps(player: Player) -> None:
    player.start()
    (held,) = player.session.handle(Pause(is_paused=True))
    assert isinstance(held, Shown)
    assert held.frame.is_paused
    assert player.tick(5) == []
    assert player.session.due_s is None
    player.session.handle(StepOnce())
    assert [shown.frame.episode_step for shown in player.tick(5)] == [1]
    player.session.handle(Pause(is_paused=False))
    assert len(player.tick(3)) == 3


def test_a_single_step_pauses_a_running_session(player: Player) -> None:
    player.start()
    player.session.handle(StepOnce())
    shown = player.tick(3)
    assert [item.frame.is_paused for item in shown] == [True]


def test_a_session_that_fell_behind_does_not_hurry(player: Player) -> None:
    player.start()
    player.tick()
    player.now_s += 10.0
    assert len(player.session.tick(player.now_s)) == 1
    assert player.session.tick(player.now_s + 0.01) != ()
    assert player.session.tick(player.now_s + 0.02) == ()


def test_the_rate_decides_how_often_frames_come(player: Player) -> None:
    player.start()
    player.session.handle(SetRate(rate_hz=2.0))
    assert len(player.tick(20)) == pytest.approx(4, abs=1)
    text = problem_text(player.session.handle(SetRate(rate_hz=500.0)))
    assert text == "The rate must lie in 1 to 60 frames per second, got 500."


def test_the_end_of_an_episode_is_said_and_the_next_one_begins(player: Player) -> None:
    player.start()
    notices, started = [], []
    for _ in range(103):
        player.now_s += 0.11
        for item in player.session.tick(player.now_s):
            notices += [item.text] if isinstance(item, Notice) else []
            started += [item.seed] if isinstance(item, Started) else []
    (text,) = notices
    assert text.startswith("Episode over after 100 steps: the time limit was reached, score ")
    assert text.endswith("A new one begins.")
    assert len(started) == 1
    assert started[0] != 5


def test_a_driver_takes_over_and_gives_back(player: Player) -> None:
    player.start()
    (shown,) = player.session.handle(SetAutopilot(driver="random"))
    assert isinstance(shown, Shown)
    assert shown.frame.driver == "random"
    actions = {item.frame.action for item in player.tick(40)}
    assert len(actions) > 2
    player.session.handle(SetAutopilot(driver="off"))
    assert player.frame().action == (0.0, 0.0)


def test_the_driver_stays_over_reset_and_change_of_task(player: Player) -> None:
    player.start()
    player.session.handle(SetAutopilot(driver="random"))
    player.session.handle(Reset())
    player.start(task="toy-fall")
    assert player.frame().driver == "random"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Start(model="shft", task=TASK), "Unknown model 'shft'. Did you mean 'shift'? This server"),
        (
            Start(model="shift", task="toy-pant"),
            "Unknown task 'toy-pant'. Did you mean 'toy-paint'? The model 'shift' can dream: "
            "toy-paint, toy-fall.",
        ),
        (Act(values=(1.0,)), "The task 'toy-paint' has 2 action lanes, got 1 values."),
    ],
)
def test_what_a_person_can_do_wrong_is_answered_and_play_goes_on(
    player: Player, message: Start | Act, said: str
) -> None:
    player.start()
    assert problem_text(player.session.handle(message)).startswith(said)
    assert player.frame().episode_step == 1


@pytest.mark.parametrize("message", [Reset(), Reseed(), StepOnce(), Act(values=(0.0,))])
def test_before_the_start_only_start_makes_sense(player: Player, message: Reset) -> None:
    text = problem_text(player.session.handle(message))
    assert text == "Nothing is being played yet. Send 'start' with a model and a task first."
    assert player.session.tick(1.0) == ()


def test_a_model_without_limits_says_so_and_shows_no_colour(show: Show) -> None:
    from reverie.serve.library import make_show

    plain = make_show("shift", show.world, notice="There are no limits.")
    player = Player(plain)
    started, _, notice = player.start()
    assert isinstance(started, Started)
    assert started.thresholds == ()
    assert notice == Notice(text="There are no limits.")
    frame = player.tick(CONTEXT + 1)[-1].frame
    assert {reading.level for reading in frame.readings} == {"unknown"}
    assert all(reading.normalised is not None for reading in frame.readings)


def test_two_sessions_of_one_model_do_not_disturb_each_other(show: Show) -> None:
    def play(player: Player, companion: Player | None) -> list[bytes]:
        player.start()
        pictures = []
        for step in range(30):
            player.session.handle(Act(values=(np.sin(step), np.cos(step))))
            if companion is not None:
                companion.session.handle(Act(values=(1.0, -1.0)))
                companion.tick(1 + step % 2)
                if step % 7 == 3:
                    companion.session.handle(Reseed())
            pictures += [shown.dream.tobytes() for shown in player.tick()]
        return pictures

    companion = Player(show, seed=99)
    companion.start(task="toy-fall", seed=11)
    alone = play(Player(show), None)
    together = play(Player(show), companion)
    assert len(set(alone)) > 20
    assert alone == together


def reachable(root: object) -> tuple[int, int]:
    """Count the objects that hang on ``root``, and their bytes; code and types left out."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, (type, ModuleType, FunctionType)):
            continue
        seen[id(item)] = item
        waiting += gc.get_referents(item)
    return len(seen), sum(map(sys.getsizeof, seen.values()))


def test_memory_does_not_grow_with_time(player: Player) -> None:
    player.start()
    player.session.handle(SetAutopilot(driver="random"))
    player.tick(150)
    objects, size = reachable(player.session)
    for _ in range(20):
        player.tick(100)
    later_objects, later_size = reachable(player.session)
    assert objects > 100
    assert later_objects < objects + 50
    assert later_size < size + 30_000


def test_a_calibrated_model_says_how_likely_and_how_early() -> None:
    show = make_shift_show(is_calibrated=True)
    player = Player(show)
    player.start()
    frames = [player.frame() for _ in range(9)]
    player.session.close()
    outlooks = [frame.outlook for frame in frames if frame.outlook is not None]
    assert len(outlooks) >= 5, "one from the first dreamed frame on"
    first, last = outlooks[0], outlooks[-1]
    assert first.flagged_at is None and last.flagged_at == 4
    assert last.held >= last.probability and last.threshold == 0.5
    assert frames[-1].level == "red", "a flagged dream is not shown as a steady one"
    if last.diverged_at is not None:
        assert last.lead == last.diverged_at - last.flagged_at
    heat = frames[-1].heat
    assert heat is not None and len(heat.values) == heat.rows * heat.columns
    assert all(frame.heat is None for frame in frames if frame.phase == "context")
