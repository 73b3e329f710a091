"""Tables of clips: what is read, what is refused, what is counted."""

import json
from pathlib import Path

import numpy as np
import pytest

from reverie.cli.main import EXIT_USER_ERROR, main
from reverie.core.errors import ConfigError, DataError
from reverie.evaluate.table import (
    COLUMNS,
    ClipTable,
    read_clip_table,
    statistics_numbers,
    table_statistics,
    write_clip_table,
)

HEAD = ",".join(COLUMNS)


def make_table(num_tasks: int = 3, clips: int = 20, seed: int = 0) -> ClipTable:
    """Tasks whose readings rank clips perfectly inside, and tasks the other way round."""
    rng = np.random.default_rng(seed)
    tasks, columns = [], {name: [] for name in COLUMNS[1:]}
    for task in range(num_tasks):
        gain = rng.permutation(np.linspace(-4, 4, clips)) + task
        tasks += [f"task-{task}"] * clips
        columns["rollout_psnr_gain_db"].append(gain)
        columns["u_r_norm"].append(np.exp(-gain) + 100 * task)
        columns["u_f_norm"].append(gain)
        columns["u_s_norm"].append(rng.normal(size=clips))
        columns["action_shuffle_ratio"].append(np.linspace(0.9, 1.4, clips))
    values = {name: np.concatenate(parts) for name, parts in columns.items()}
    return ClipTable(tasks=tuple(tasks), values=values)


def test_a_reading_can_be_perfect_within_tasks_and_mislead_between_them() -> None:
    numbers = statistics_numbers(table_statistics(make_table(), num_draws=20))["predictors"]
    good, bad = numbers["u_r_norm"], numbers["u_f_norm"]
    assert good["spearman_within_task"] == pytest.approx(-1.0)
    assert good["auroc_divergence_within_task"] == pytest.approx(1.0)
    assert good["spearman_between_tasks"] == pytest.approx(1.0)
    assert good["spearman_pooled"] > -0.5
    assert bad["spearman_within_task"] == pytest.approx(1.0)
    assert bad["spearman_within_task_wrong_sign_share"] == 1.0
    assert good["spearman_within_task_num_tasks"] == 3
    assert good["spearman_within_task_interval"] == pytest.approx([-1.0, -1.0])


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    table = make_table()
    table.values["u_s_norm"][3] = np.nan
    write_clip_table(tmp_path / "clips.csv", table)
    found = read_clip_table(tmp_path / "clips.csv")
    assert found.tasks == table.tasks
    for name, values in found.values.items():
        assert np.array_equal(values, table.values[name], equal_nan=True)


def test_undefined_rows_are_dropped_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_table()
    for name in ("u_r_norm", "u_f_norm", "u_s_norm"):
        table.values[name][:5] = np.nan
    write_clip_table(tmp_path / "clips.csv", table)
    assert main(["evaluate", "stats", str(tmp_path / "clips.csv"), "--json", f"{tmp_path}/n"]) == 0
    shown = capsys.readouterr().out
    assert "5 clips have undefined numbers" in shown and "task-0 5" in shown
    numbers = json.loads((tmp_path / "n").read_text())
    assert numbers["num_undefined"]["u_r_norm"] == 5
    assert numbers["undefined_rows_by_task"] == {"task-0": 5}
    row = numbers["predictors"]["u_r_norm"]
    assert (row["num_clips"], row["num_dropped"]) == (55, 5)
    assert row["spearman_within_task"] == pytest.approx(-1.0)
    assert row["auroc_divergence_pooled"] is not None
    assert row["auroc_ignored_within_task"] is not None


def test_tasks_qualify_by_twelve_clips_and_a_base_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sizes = {"few": 11, "enough": 12, "all-good": 20, "one-in-ten": 20, "one-in-twenty": 20}
    bad = {"few": 5, "enough": 6, "all-good": 0, "one-in-ten": 2, "one-in-twenty": 1}
    tasks, gains = [], []
    for task, size in sizes.items():
        tasks += [task] * size
        gains += [-1.0 - index for index in range(bad[task])]
        gains += [1.0 + index for index in range(size - bad[task])]
    values = {name: rng.normal(size=len(tasks)) for name in COLUMNS[1:]}
    values["rollout_psnr_gain_db"] = np.array(gains)
    numbers = statistics_numbers(
        table_statistics(ClipTable(tasks=tuple(tasks), values=values), num_draws=0)
    )["predictors"]["u_r_norm"]
    assert set(numbers["spearman_within_task_by_task"]) == sizes.keys() - {"few"}
    assert set(numbers["auroc_divergence_within_task_by_task"]) == {"enough", "one-in-ten"}


def test_zero_gain_has_diverged_and_a_ratio_of_1_1_is_ignored() -> None:
    values = {name: np.arange(4.0) for name in COLUMNS[1:]}
    values["rollout_psnr_gain_db"] = np.array([0.0, 1e-9, 2.0, 3.0])
    values["action_shuffle_ratio"] = np.array([1.1, 1.1000001, 2.0, np.nan])
    rates = table_statistics(ClipTable(tasks=("a",) * 4, values=values), num_draws=0).base_rates
    assert rates == {"divergence": pytest.approx(0.25), "ignored": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "is empty"),
        (HEAD.encode(), "has no clips"),
        (b"task,u_r_norm\na,1\n", "has no column 'action_shuffle_ratio'"),
        (f"{HEAD}\na,1,2,x,4,5\n".encode(), "Line 2 of .* has 'x' under 'u_f_norm'"),
        (f"{HEAD}\na,1,2,3,4,5\nb,1\n".encode(), "Line 3 of .* has 2 cells"),
        (f"{HEAD}\n,1,2,3,4,5\n".encode(), "names no task"),
        (f"{HEAD},u_r_norm\na,1,2,3,4,5,6\n".encode(), "names a column twice"),
        (b"\xff\xfe\x00task", "is not text in UTF-8"),
        (f'{HEAD}\n"a,1,2,3,4,5\n'.encode(), "is not a CSV"),
    ],
)
def test_a_bad_table_is_one_line_that_says_why(
    content: bytes, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=text):
        read_clip_table(path)
    assert main(["evaluate", "stats", str(path)]) == EXIT_USER_ERROR
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_files_and_unknown_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        read_clip_table(tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_clip_table(tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'u_r_norm'"):
        table_statistics(make_table(), ("u_r_nrm",))


def test_evaluate_still_takes_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "no-such-model"]) == EXIT_USER_ERROR
    assert "Unknown model 'no-such-model'" in capsys.readouterr().err
