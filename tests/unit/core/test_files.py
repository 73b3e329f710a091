import json
import os
from pathlib import Path

import pytest

from reverie.core.files import (
    atomic_path,
    digest,
    file_digest,
    read_sealed,
    write_bytes,
    write_json,
    write_sealed,
)


def test_a_failure_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "table.bin"
    write_bytes(path, b"old")
    with pytest.raises(RuntimeError, match="torn"), atomic_path(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError("torn")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["table.bin"]


def test_a_failure_before_the_first_byte_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "new" / "a.txt"):
        _ = 1 / 0
    assert os.listdir(tmp_path / "new") == []


def test_the_content_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".png" and temporary.parent == tmp_path
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"


def test_json_is_written_in_the_order_of_its_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5, None]})
    text = (tmp_path / "a.json").read_text()
    assert text.index('"b"') < text.index('"a"') and text.endswith("\n")
    assert json.loads(text) == {"b": 1, "a": [1.5, None]}


def test_the_digest_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == digest(content)
    assert digest(b"") == "cae66941d9efbd404e4d88758ea67670"
    assert digest(content[:-1]) != digest(content)


def test_a_sealed_object_comes_back_without_its_seal_and_may_be_laid_out_anew(
    tmp_path: Path,
) -> None:
    path, value = tmp_path / "a.json", {"b": [1.5, None, 1e-300], "a": {"é": float("inf")}}
    write_sealed(path, value)
    assert read_sealed(path) == value
    content = json.loads(path.read_text())
    assert list(content)[-1] == "checksum"
    path.write_text(json.dumps(dict(reversed(content.items()))))
    assert read_sealed(path) == value


def test_a_changed_digit_breaks_the_seal_and_no_seal_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, {"lr": 0.25})
    path.write_text(path.read_text().replace("0.25", "0.35"))
    with pytest.raises(ValueError, match="checksum does not fit its content"):
        read_sealed(path)
    write_json(path, {"lr": 0.35})
    assert read_sealed(path) == {"lr": 0.35}
    write_json(path, [1, 2])
    assert read_sealed(path) == [1, 2]


def test_a_writer_that_keeps_its_file_to_itself_still_leaves_one_that_all_may_read(
    tmp_path: Path,
) -> None:
    write_bytes(tmp_path / "usual", b"1")
    with atomic_path(tmp_path / "private") as temporary:
        temporary.unlink()
        temporary.touch(mode=0o600)
    modes = {(tmp_path / name).stat().st_mode & 0o777 for name in ("usual", "private")}
    assert len(modes) == 1
