"""The table of one task of the MMBench2 release: what led to each frame, read without unpickling.

On the Hub the table is a pickled TensorDict; from the release's own collector a plain dictionary.
Either way torch's restricted unpickler reads it: two harmless local functions stand in for the
two foreign names that such a pickle calls, and any other name is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from reverie.core.errors import DataError
from reverie.core.tensors import load_tensors

RELEASE_ACTION_LANES = 16


class TensorDictMark:
    """Stands where the pickle names ``tensordict.TensorDict``; it is never made."""


def tensordict_state(mark: Any, state: Any) -> Any:
    """Stand in for what would build a TensorDict: give back the plain state."""
    return state


_STAND_INS = (
    (TensorDictMark, "tensordict._td.TensorDict"),
    (tensordict_state, "tensordict._reductions._make_td"),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReleaseRows:
    """Row k is frame k, the action that led to it and the reward that arrived with it."""

    path: Path
    actions: Float32[np.ndarray, "n a"]
    """Zero-padded; NaN in the first row of each episode."""
    rewards: Float32[np.ndarray, " n"]
    """NaN in the first row of each episode."""
    episodes: Int64[np.ndarray, " n"]
    """Constant inside an episode."""
    terminated: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        """Return the number of rows, which is that of frames."""
        return len(self.rewards)

    def cuts(self) -> list[tuple[int, int]]:
        """Return the first and one past the last row of each episode, in file order."""
        changes = np.flatnonzero(np.diff(self.episodes)) + 1
        edges = [0, *changes.tolist(), len(self)]
        return list(zip(edges[:-1], edges[1:], strict=True))

    def valid_starts(self, length: int) -> Int64[np.ndarray, " starts"]:
        """Return the rows at which the release lets a window of ``length`` frames start.

        It reads one row more than the window is long: rows start … start + length must be of one
        episode, all but the first without NaN.
        """
        starts = np.arange(max(len(self) - length, 0), dtype=np.int64)
        is_bad = np.isnan(self.actions).any(axis=1) | np.isnan(self.rewards)
        bad_before = np.concatenate([[0], np.cumsum(is_bad)])
        is_whole = self.episodes[starts] == self.episodes[starts + length]
        is_clean = bad_before[starts + length + 1] == bad_before[starts + 1]
        return starts[is_whole & is_clean]

    def check(self, action_width: int) -> None:
        """Refuse tables whose rows cannot be what they claim.

        Raises:
            DataError: NaN is elsewhere than in the first rows of episodes, an episode comes in two
                pieces, or a lane beyond ``action_width`` is used. The message names the row.
        """
        cuts = self.cuts()
        ids = [int(self.episodes[start]) for start, _ in cuts]
        if len(set(ids)) != len(ids):
            twice = next(name for name in ids if ids.count(name) > 1)
            raise DataError(f"'{self.path}': episode {twice} comes in two pieces.")
        is_first = np.zeros(len(self), dtype=np.bool_)
        is_first[[start for start, _ in cuts]] = True
        lanes = self.actions[:, :action_width]
        for name, is_nan, is_all in (
            ("action", np.isnan(lanes).any(axis=1), np.isnan(lanes).all(axis=1)),
            ("reward", np.isnan(self.rewards), np.isnan(self.rewards)),
        ):
            wrong = np.flatnonzero((is_nan & ~is_first) | (is_first & ~is_all))
            if wrong.size:
                row = int(wrong[0])
                where = "first row" if is_first[row] else "middle"
                raise DataError(
                    f"'{self.path}': row {row} ({where} of episode {self.episodes[row]}) has "
                    f"{name} {self._shown(name, row)}; NaN is expected in first rows and nowhere "
                    f"else. Download the file again."
                )
        if np.isinf(lanes).any() or np.isinf(self.rewards).any():
            raise DataError(f"'{self.path}' holds an infinite action or reward.")
        spare = self.actions[:, action_width:]
        used = np.flatnonzero(np.nan_to_num(spare, nan=0.0).any(axis=1))
        if used.size:
            raise DataError(
                f"'{self.path}': row {int(used[0])} uses a lane beyond the task's "
                f"{action_width}. Give the tasks.json of the same release."
            )

    def _shown(self, name: str, row: int) -> str:
        value = self.rewards[row] if name == "reward" else self.actions[row]
        return np.array2string(np.asarray(value), precision=3, threshold=4)


def read_rows(path: Path) -> ReleaseRows:
    """Read ``<task>.pt``.

    Raises:
        DataError: The file is damaged, names foreign code, or its columns do not fit together.
    """
    content = load_tensors(path, stand_ins=_STAND_INS)
    if isinstance(content, dict) and isinstance(content.get("_tensordict"), dict):
        content = content["_tensordict"]
    if not isinstance(content, dict):
        raise DataError(f"'{path}' holds a {type(content).__name__}, expected named columns.")
    columns = {name: _column(path, content, name) for name in ("action", "reward", "episode")}
    action, reward = columns["action"], columns["reward"]
    if action.ndim == 1:
        action = action[:, None]
    if reward.ndim == 2 and reward.shape[1] == 1:
        reward = reward[:, 0]
    terminated = torch.zeros(len(reward), dtype=torch.bool)
    if "terminated" in content:
        terminated = _column(path, content, "terminated")
        terminated = terminated.reshape(terminated.shape[0], -1)[:, 0]
    shapes = {name: tuple(column.shape) for name, column in columns.items()}
    is_table = action.ndim == 2 and reward.ndim == 1 and columns["episode"].ndim == 1
    if (
        not is_table
        or len({len(action), len(reward), len(columns["episode"]), len(terminated)}) > 1
    ):
        raise DataError(
            f"'{path}': the columns do not fit together: {shapes}, terminated "
            f"{len(terminated)}. Every one needs a value per frame."
        )
    if not len(reward) or not action.shape[1]:
        raise DataError(f"'{path}' has no rows.")
    return ReleaseRows(
        path=path,
        actions=action.to(torch.float32).numpy().copy(),
        rewards=reward.to(torch.float32).numpy().copy(),
        episodes=columns["episode"].to(torch.int64).numpy().copy(),
        terminated=terminated.to(torch.bool).numpy().copy(),
    )


def _column(path: Path, content: dict[str, Any], name: str) -> Tensor:
    column = content.get(name)
    if not isinstance(column, Tensor):
        raise DataError(
            f"'{path}' has no column '{name}', only "
            f"{', '.join(sorted(map(str, content))[:8]) or 'nothing'}."
        )
    is_number = column.is_floating_point() if name in ("action", "reward") else True
    is_whole = not column.is_floating_point() if name in ("episode", "terminated") else True
    if not (is_number and is_whole and not column.is_complex() and column.ndim):
        raise DataError(f"'{path}': column '{name}' has dtype {column.dtype}, which it cannot be.")
    if column.layout != torch.strided or column.device.type != "cpu":
        raise DataError(f"'{path}': column '{name}' is not a plain tensor.")
    return column
