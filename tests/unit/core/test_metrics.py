import json
import math
from pathlib import Path

import pytest

from reverie.core.errors import DataError
from reverie.core.metrics import MetricWriter, read_metrics


def steps(path: Path) -> list[float | int | str]:
    return [row["step"] for row in read_metrics(path)]


def test_each_line_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    with MetricWriter(path) as writer:
        writer.write(0, {"loss": 1.5, "phase": "tokenizer"})
        assert read_metrics(path) == [{"step": 0, "loss": 1.5, "phase": "tokenizer"}]
        writer.write(0, {"psnr_db": 30})
        writer.write(2, {})
    assert steps(path) == [0, 0, 2]


def test_values_that_are_not_finite_stay_valid_json(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with MetricWriter(path) as writer:
        writer.write(1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    row = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert row == {"step": 1, "a": "NaN", "b": "Infinity", "c": "-Infinity"}
    (row,) = read_metrics(path)
    assert math.isnan(float(row["a"])) and (row["b"], row["c"]) == (math.inf, -math.inf)


def test_a_torn_last_line_is_ignored_by_readers_and_removed_by_writers(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo')
    assert steps(path) == [1]
    with MetricWriter(path, resume_step=5) as writer:
        writer.write(6, {"loss": 1})
    assert steps(path) == [1, 6]


def test_resuming_removes_the_steps_that_will_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with MetricWriter(path) as writer:
        for step in range(6):
            writer.write(step, {"loss": step})
    with MetricWriter(path, resume_step=3) as writer:
        assert steps(path) == [0, 1, 2, 3]
        writer.write(4, {"loss": 40})
    assert [row["loss"] for row in read_metrics(path)] == [0, 1, 2, 3, 40]
    MetricWriter(path).close()
    assert read_metrics(path) == []


def test_steps_never_go_back(tmp_path: Path) -> None:
    with MetricWriter(tmp_path / "m.jsonl") as writer:
        writer.write(5, {})
        with pytest.raises(ValueError, match="step 4 comes after 5. Open the file with resume"):
            writer.write(4, {})
    with (
        MetricWriter(tmp_path / "m.jsonl", resume_step=9) as writer,
        pytest.raises(ValueError, match="step 3 comes after 5"),
    ):
        writer.write(3, {})


def test_a_missing_file_and_a_broken_line_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no metrics at .*gone.jsonl"):
        read_metrics(tmp_path / "gone.jsonl")
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\nhello\n{"step": 2}\n')
    with pytest.raises(DataError, match="line that is not JSON: b'hello'. Remove that line"):
        read_metrics(path)
    path.write_text('{"loss": 1}\n')
    with pytest.raises(DataError, match="a line without a step"):
        read_metrics(path)
