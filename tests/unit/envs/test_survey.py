"""Running many tasks: each one counted, the missing ones named, the dead ones failed."""

import os
import signal
import time

import numpy as np
import pytest

from reverie.core.errors import (
    ConfigError,
    MissingAssetError,
    MissingDriverError,
    MissingExtraError,
)
from reverie.core.types import FrameSpec
from reverie.envs import survey as survey_module
from reverie.envs.checks import TaskCheck
from reverie.envs.gallery import CAPTION_PX, GAP_PX, draw_gallery, wrap_name
from reverie.envs.registry import task_names, task_spec
from reverie.envs.survey import (
    SurveyConfig,
    TaskOutcome,
    benchmark_names,
    run_one,
    summary,
    survey,
)

SMALL = SurveyConfig(frame=FrameSpec(height_px=32, width_px=32), num_steps=5)


def test_every_task_is_reported_once_whatever_its_simulator() -> None:
    names = ("toy-paint", "pygame-pong", "toy-fall", "pygame-cowboy")
    outcomes = list(survey(names, SMALL, num_workers=2))
    assert sorted(outcome.task for outcome in outcomes) == sorted(names)
    assert {outcome.status for outcome in outcomes} == {"ok"}
    assert all(outcome.check and outcome.check.num_steps == 5 for outcome in outcomes)
    assert all(30 < outcome.peak_mb < 400 for outcome in outcomes)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MissingAssetError("fetch it"), "needs asset"),
        (MissingExtraError("install it"), "needs extra"),
        (MissingDriverError("get a driver"), "needs driver"),
        (RuntimeError("broken"), "failed"),
    ],
)
def test_what_a_task_lacks_is_told_apart_from_what_it_breaks(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: str
) -> None:
    def fail(task: str, **_: object) -> TaskCheck:
        raise error

    monkeypatch.setattr(survey_module, "check_task", fail)
    outcome = run_one("toy-paint", SMALL)
    assert outcome.status == status
    assert str(error) in outcome.message


def test_a_process_that_dies_fails_its_task_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(survey_module, "_serve_group", dying_server)
    outcomes = {item.task: item for item in survey(("toy-paint", "toy-fall"), SMALL, num_workers=1)}
    assert outcomes["toy-paint"].status == "failed"
    assert "died with exit code -9" in outcomes["toy-paint"].message
    assert outcomes["toy-fall"].status == "ok"


def dying_server(connection, names, config) -> None:
    for name in names:
        if name == "toy-paint":
            os.kill(os.getpid(), signal.SIGKILL)
        connection.send(TaskOutcome(task=name, status="ok"))


def test_the_summary_counts_everything_and_names_the_command_that_fetches() -> None:
    report = summary(
        [
            TaskOutcome(task="toy-paint", status="ok", peak_mb=70.0),
            TaskOutcome(task="toy-fall", status="failed", message="A score leaves [0, 1]."),
            TaskOutcome(task="pygame-pong", status="needs asset", message="fetch"),
        ]
    )
    assert (report["registered"], report["ok"]) == (3, 1)
    assert report["failed"] == [{"task": "toy-fall", "message": "A score leaves [0, 1]."}]
    assert report["needs_assets"] == [{"task": "pygame-pong", "fetch": "fetch"}]
    assert report["peak_mb"]["toy"] == 70.0


def test_the_benchmark_is_all_but_our_own_tasks() -> None:
    names = benchmark_names()
    assert "toy-paint" not in names and "pygame-reacher-hard" not in names
    assert {"CartPole-v1", "pygame-pong", "walker-walk"} <= set(names)
    assert len(set(task_names()) - set(names)) < 10
    assert all(task_spec(name).split == "extra" for name in set(task_names()) - set(names))


def test_a_picture_is_taken_in_the_middle_of_an_episode() -> None:
    config = SurveyConfig(frame=FrameSpec(height_px=32, width_px=32), wants_pictures=True)
    frame = run_one("toy-paint", config).frame
    assert frame is not None and frame.shape == (32, 32, 3)
    # The painted panels tell that actions were taken.
    assert frame[-4:].std() > 0


def test_the_gallery_shows_each_frame_in_its_place() -> None:
    frames = {f"task-{index}": np.full((8, 8, 3), 20 * index, dtype=np.uint8) for index in range(5)}
    sheet = draw_gallery(frames, num_columns=2)
    cell = 8 + CAPTION_PX + GAP_PX
    assert sheet.shape == (3 * cell + 4, 2 * 12 + 4, 3)
    assert (sheet[4:12, 16:24] == 20).all()
    assert (sheet[4 + cell : 12 + cell, 4:12] == 40).all()
    assert draw_gallery(frames).shape[1] == 5 * 12 + 4, "no more columns than frames"
    with pytest.raises(ConfigError, match="at least 1 frame"):
        draw_gallery({})


def test_names_stay_below_their_own_picture() -> None:
    names = task_names()
    frames = {name: np.full((96, 96, 3), 250, dtype=np.uint8) for name in names}
    sheet = draw_gallery(frames, num_columns=16)
    gaps = sheet.reshape(sheet.shape[0], -1, 3)[:, 4 + 96 :: 100]
    assert (gaps == 250).all(), "a letter stands between two pictures"
    assert wrap_name("pygame-cartpole-swingup-sparse", 96) == ("pygame-cartpole-", "swingup-sparse")
    assert wrap_name("rd-push-red", 96) == ("rd-push-red",)


def test_a_task_that_hangs_is_ended_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_module, "_serve_group", hanging_server)
    patient = SurveyConfig(frame=SMALL.frame, num_steps=5, limit_s=3.0)
    names = ("toy-paint", "toy-fall")
    outcomes = {item.task: item for item in survey(names, patient, num_workers=1)}
    assert outcomes["toy-paint"].status == "failed"
    assert "gave no answer within 3 s, so its process was ended" in outcomes["toy-paint"].message
    assert outcomes["toy-fall"].status == "ok"


def hanging_server(connection, names, config) -> None:
    for name in names:
        if name == "toy-paint":
            time.sleep(60)
        connection.send(TaskOutcome(task=name, status="ok"))
