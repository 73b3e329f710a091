import json
import shutil
from pathlib import Path

import pytest

from reverie.cli import doctor as module
from reverie.cli.doctor import (
    Row,
    codec_row,
    disk_row,
    doctor,
    examine,
    extra_rows,
    find_chromium,
    graphics_rows,
    memory_row,
    python_row,
    table,
)


def test_this_machine_can_run_reverie(tmp_path: Path) -> None:
    rows = {row.name: row for row in examine(tmp_path)}
    assert {"python", "torch", "gpu", "bf16", "memory", "disk", "chromium"} <= set(rows)
    assert rows["lossless WebP"].level == rows["zstd"].level == "ok"
    assert not [row for row in rows.values() if row.level == "missing"]


def test_whatever_is_wrong_comes_with_a_remedy(tmp_path: Path) -> None:
    for row in examine(tmp_path):
        assert bool(row.mend) == (row.level != "ok"), row


@pytest.mark.parametrize("version", [(3, 10), (3, 13)])
def test_other_versions_of_python_are_refused(version: tuple[int, int]) -> None:
    assert python_row(version).level == "missing"
    assert "3.11 or 3.12" in python_row(version).mend
    assert python_row((3, 12)).level == "ok"


def test_a_codec_that_alters_bytes_or_is_absent_is_missing() -> None:
    def fail() -> bool:
        raise ImportError("libz.so not found")

    assert codec_row("zstd", lambda: True, "zstandard").level == "ok"
    altered = codec_row("zstd", lambda: False, "zstandard")
    assert (altered.level, altered.mend) == (
        "missing",
        "pip install --force-reinstall zstandard",
    )
    assert "libz.so not found" in codec_row("zstd", fail, "zstandard").found


def test_little_memory_and_disk_limit_but_do_not_forbid(tmp_path: Path) -> None:
    assert memory_row((3.9, 16.0)).level == "limited"
    assert memory_row((4.1, 16.0)).level == "ok"
    assert "delete old runs" in disk_row(tmp_path, 0.5).mend
    assert disk_row(tmp_path, 50.0).level == "ok"


def test_missing_libraries_and_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.ctypes.util, "find_library", lambda _name: None)
    assert [row.level for row in graphics_rows()] == ["limited"] * 3
    assert "apt-get install libegl1" in graphics_rows()[1].mend
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert find_chromium() is None
    assert "apt-get install chromium" in module.chromium_row(None).mend


def test_an_extra_without_its_packages_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = ["numpy>=1", 'no-such-thing>=2; extra == "play"', 'numpy; extra == "eval"']
    monkeypatch.setattr(module.importlib.metadata, "requires", lambda _name: needs)
    evaluate, play = extra_rows()
    assert (evaluate.name, evaluate.level) == ("extra eval", "ok")
    assert play.found == "without no-such-thing"
    assert play.mend == "pip install 'reverie[play]'"


def test_the_table_shows_each_remedy_below_its_finding() -> None:
    rows = [
        Row(name="torch", level="ok", found="2"),
        Row(name="zstd", level="missing", found="broken", mend="mend it"),
    ]
    assert table(rows).splitlines() == [
        " ok  torch  2",
        " NO  zstd   broken",
        "            → mend it",
        "",
        "1 needed things missing, 0 optional things missing.",
    ]


def test_json_holds_every_row_and_a_needed_thing_missing_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(name="zstd", level="missing", found="broken", mend="mend it")]
    monkeypatch.setattr(module, "examine", lambda _folder: rows)
    assert doctor(as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"name": "zstd", "level": "missing", "found": "broken", "mend": "mend it"}
    ]
    monkeypatch.setattr(module, "examine", lambda _folder: [python_row((3, 11))])
    assert doctor() == 0
    assert "0 needed things missing" in capsys.readouterr().out
