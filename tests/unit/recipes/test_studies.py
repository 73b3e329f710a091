"""What studies share: spreads with honest counts, paired differences, tables."""

from pathlib import Path

import numpy as np
import pytest

from reverie.recipes.studies import average, compared, spread, table, write_compared


def test_runs_without_a_number_are_left_out_and_counted() -> None:
    values = np.array([[0.1, np.nan, 0.3, 0.4], [0.5, 0.6, 0.9, 1.0]])
    found = spread(values, "example")
    assert found["num_runs"] == 6 and found["num_left_out"] == 2
    assert found["low"] <= found["middle"] == found["iqm"] <= found["high"]
    assert np.isnan(spread(np.full((1, 2), np.nan), "nothing")["iqm"])
    wins = np.eye(4)
    assert spread(wins, "wins")["middle"] == 0.0, "a quarter of wins is cut away"
    assert spread(wins, "wins", average)["middle"] == 0.25


def test_a_table_shows_an_interval_with_every_mean() -> None:
    row = {"score": {"middle": 0.25, "low": 0.1, "high": 0.4, "mean": 0.2}, "share": 0.5}
    text = table({"study": "cautious", "rows": {"plain": row, "other": {"share": 0.1}}})
    assert "| plain | 0.250 [0.100, 0.400] | 0.500 |" in text
    assert "| other | – | 0.100 |" in text


def test_ways_are_compared_with_others_but_not_with_themselves(tmp_path: Path) -> None:
    first = {"gain": np.array([[1.0, 2.0, 3.0, 4.0]])}
    second = {"gain": first["gain"] + np.array([[0.5, 0.5, 0.5, 2.5]])}
    found = {"first": first, "second": second}
    rows = {name: compared(mine, {"first": first}, average) for name, mine in found.items()}
    assert "gain_minus_first" not in rows["first"]
    assert rows["second"]["gain_minus_first"]["middle"] == pytest.approx(1.0)
    written = write_compared(tmp_path, {"study": "example", "rows": rows}, found, "first")
    assert written["rows"]["second"]["gain_minus_first"]["low"] == pytest.approx(0.5)
    alone = {"study": "example", "rows": {"first": compared(first, {})}}
    assert write_compared(tmp_path / "alone", alone, {"first": first}, "first") == alone
    assert (tmp_path / "alone" / "study.png").read_bytes().startswith(b"\x89PNG")
