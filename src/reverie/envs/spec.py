"""What is known about a task before its simulator is imported."""

from dataclasses import dataclass
from typing import Literal

from reverie.core.types import ActionSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """The facts of one task; tables of these import no simulator."""

    name: str
    domain: str
    """The simulator the task lives in, such as ``"miniarcade"``."""
    instruction: str
    """What to do, in one English sentence; also the text that language models embed."""
    action: ActionSpec
    action_names: tuple[str, ...]
    """What each action lane does, for people; as many as the action is wide."""
    max_steps: int
    """Steps after which an episode is truncated."""
    action_repeat: int = 1
    """Simulator steps per agent step."""
    score_rule: str = ""
    """The benchmark's normalised score in words, such as ``"clip(return / 500, 0, 1)"``."""
    can_terminate: bool = False
    """Whether the task can end by itself, before its time limit."""
    has_random_start: bool = True
    """Whether seeds matter; False where episodes start alike and nothing is drawn later."""
    split: Literal["train", "unseen", "extra"] = "train"
    """Where the benchmark uses the task; ``extra`` is outside its list."""
    is_targeted: bool = False
    """Whether targeted data collection of the benchmark covers the task."""
    extra: str | None = None
    """The extra of the ``reverie`` package that installs the simulator; None if core has it."""
    assets: str | None = None
    """The command that fetches assets this task needs from a hub; None if it needs none."""
    has_qualities: bool = False
    """Whether we draw the task ourselves, in a render quality that can be chosen; the others look
    as their simulator draws them."""
    factory: str
    """``"module:function"``; called with (spec, frame_spec), and with a render quality as well
    where the task has qualities; returns a ``TaskEnv``."""
    expert: str | None = None
    """``"module:function"``; called with (spec), returns the ``Controller`` of its scripted expert,
    or a whole ``Policy``. None if it has none."""
