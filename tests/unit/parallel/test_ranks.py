"""One process is rank 0 of 1, and what does not exist is refused by its text."""

import pytest
import torch

from reverie.core.errors import ConfigError
from reverie.parallel.checks import TrainingError, check_finite, tensors_digest
from reverie.parallel.device import choose_device
from reverie.parallel.ranks import Ranks, setup_ranks


def test_a_lone_process_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    module = torch.nn.Linear(1, 1)
    with setup_ranks("cpu") as ranks:
        assert ranks.is_main
        assert ranks.agree(True, False) == (True, False)
        assert ranks.wrap(module) is module
        value = torch.arange(3)
        assert ranks.gather(value)[0] is value
        ranks.wait()


def test_half_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(ConfigError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not"),
        setup_ranks("cpu"),
    ):
        pass


def test_devices_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match="'teapot' is not a device. Try 'auto'"):
        choose_device("teapot")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="sees no CUDA device here. Use --device cpu"):
            choose_device("cuda")


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="'cuda:2' was asked for, but this machine has 2 CUDA"):
        choose_device("cuda:2")


def test_a_rank_outside_the_group_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 2"):
        Ranks(rank=2, num_ranks=2)


def test_tensors_that_are_not_finite_are_named() -> None:
    check_finite(
        {"a": torch.ones(2), "count": torch.ones(1, dtype=torch.int64)},
        what="weights",
        ranks=Ranks(),
    )
    with pytest.raises(TrainingError, match=r"The weights are not finite: b \(1 of 2 tensors\)"):
        check_finite(
            {"a": torch.ones(2), "b": torch.tensor([1.0, torch.inf])}, what="weights", ranks=Ranks()
        )


def test_the_digest_sees_names_shapes_and_bits() -> None:
    base = tensors_digest({"a": torch.zeros(4)})
    assert tensors_digest({"a": torch.zeros(4)}) == base
    for other in ({"b": torch.zeros(4)}, {"a": torch.zeros(2, 2)}, {"a": -torch.zeros(4)}):
        assert tensors_digest(other) != base
