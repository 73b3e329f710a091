"""The model's own controller at the wheel of the page."""

from functools import partial
from pathlib import Path

import torch

from reverie.models.classic.controller import ControllerConfig
from reverie.models.classic.disk import save_classic_world
from reverie.serve.library import load_show
from reverie.serve.protocol import Problem, SetAutopilot, Shown, Start
from reverie.serve.session import Session, SessionConfig
from reverie.serve.show import Show
from tests.support.classic import make_classic_world
from tests.support.dreams import seeded

TASK = "toy-paint"


def make_show(folder: Path, *, has_controller: bool) -> Show:
    world = make_classic_world(tasks=(TASK,), terminating=(), action_width=2)
    controller = ControllerConfig(num_features=world.num_features, num_outputs=2)
    parameters = torch.randn(controller.num_parameters, generator=seeded(3))
    parts = {"controller": controller, "parameters": parameters} if has_controller else {}
    save_classic_world(folder, world, **parts)
    return load_show(folder)


def begin(show: Show) -> Session:
    session = Session(
        {show.name: show}, root_seed=7, clock=lambda: 0.0, config=SessionConfig(rate_hz=10.0)
    )
    session.handle(Start(model=show.name, task=TASK, seed=5))
    return session


def test_the_agent_drives_by_itself_and_again_after_the_next_reset(tmp_path: Path) -> None:
    show = make_show(tmp_path / "dream", has_controller=True)
    assert show.card().tasks[0].has_agent
    session = begin(show)
    session.handle(SetAutopilot(driver="agent"))
    actions = set()
    for tick in range(1, 9):
        for item in session.tick(0.11 * tick):
            if isinstance(item, Shown):
                assert item.frame.driver == "agent"
                actions.add(item.frame.action)
    assert len(actions) > 3
    session.handle(Start(model=show.name, task=TASK, seed=6))
    (shown,) = (item for item in session.tick(2.0) if isinstance(item, Shown))
    assert shown.frame.driver == "agent"


def test_the_controller_lies_where_its_model_does(tmp_path: Path) -> None:
    make_show(tmp_path / "dream", has_controller=True)
    show = load_show(tmp_path / "dream", device="meta")
    assert isinstance(show.make_agent, partial)
    world, _, parameters = show.make_agent.args
    assert world.device.type == parameters.device.type == "meta"


def test_a_model_without_a_controller_says_so(tmp_path: Path) -> None:
    show = make_show(tmp_path / "dream", has_controller=False)
    assert not show.card().tasks[0].has_agent
    (problem,) = begin(show).handle(SetAutopilot(driver="agent"))
    assert isinstance(problem, Problem) and "has no controller of its own" in problem.text
