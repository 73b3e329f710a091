"""A world model with all that is needed to put it on the page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reverie.core.batch import Batch
from reverie.core.errors import UnknownNameError
from reverie.core.registry import unknown_name_message
from reverie.core.types import Episode, FrameSpec
from reverie.envs.api import Policy, TaskEnv
from reverie.envs.spec import TaskSpec
from reverie.hallucination.calibrate import Calibration
from reverie.hallucination.novelty import NoveltyBank
from reverie.hallucination.thresholds import Limit
from reverie.hallucination.verifier import Verifier
from reverie.models.api import StepContext, WorldModel
from reverie.planning.live import Agent
from reverie.serve.keys import key_bindings
from reverie.serve.protocol import ModelCard, TaskCard


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What the predictors say of one dreamed frame of one dream."""

    raw: Mapping[str, float]
    normalised: Mapping[str, float]
    """Divided by motion; the same names as ``raw``."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Show:
    """One model on offer. Its parts are shared by all sessions and never changed by them."""

    name: str
    world: WorldModel
    frame_spec: FrameSpec
    specs: Mapping[str, TaskSpec]
    """Tasks the model knows and this machine can simulate."""
    expert_tasks: frozenset[str]
    """Tasks with a scripted expert."""
    limits: Mapping[str, Mapping[str, Limit]]
    """Task name to predictor name to the limits of its normalised reading."""
    read: Callable[[WorldModel, StepContext], Measured]
    make_env: Callable[[str], TaskEnv]
    make_expert: Callable[[str], Policy]
    make_context: Callable[[Episode, int], Batch]
    """Turns the frames of an episode from the given index on into a batch of one row."""
    read_signals: Callable[[str, Mapping[str, float]], Measured] | None = None
    """Task and raw readings to what ``read`` returns, where a monitor took the readings."""
    calibration: Calibration | None = None
    """Turns readings into a probability; None until ``reverie calibrate`` has fitted one."""
    bank: NoveltyBank | None = None
    """Known frames, for calibrations that look at novelty."""
    verifier: Verifier | None = None
    """A learned gauge, for calibrations that look at it."""
    make_agent: Callable[[TaskSpec], Agent] | None = None
    """Begins an episode of the model's own controller, where it has one."""
    notice: str | None = None
    """What a person should know about this model before playing it."""
    doubts: Mapping[str, str] = field(default_factory=dict)
    """Task name to why its colours deserve less trust; tasks without a doubt are left out."""

    def spec(self, task: str) -> TaskSpec:
        """Return the spec of a task.

        Raises:
            UnknownNameError: This model cannot dream the task.
        """
        if task not in self.specs:
            hint = f"The model '{self.name}' can dream: {', '.join(self.specs)}"
            raise UnknownNameError(unknown_name_message("task", task, tuple(self.specs), hint))
        return self.specs[task]

    def card(self) -> ModelCard:
        """Describe the model to the page."""
        return ModelCard(
            name=self.name,
            height_px=self.frame_spec.height_px,
            width_px=self.frame_spec.width_px,
            max_context=self.world.max_context,
            num_flow_steps=self.world.num_flow_steps,
            tasks=tuple(self._task_card(spec) for spec in self.specs.values()),
        )

    def _task_card(self, spec: TaskSpec) -> TaskCard:
        return TaskCard(
            name=spec.name,
            domain=spec.domain,
            instruction=spec.instruction,
            action_names=spec.action_names,
            is_discrete=spec.action.kind == "discrete",
            max_steps=spec.max_steps,
            has_expert=spec.name in self.expert_tasks,
            has_agent=self.make_agent is not None,
            keys=key_bindings(spec),
        )


Library = Mapping[str, Show]
"""The models on offer, by name, in the order in which the page lists them."""


def find_show(library: Library, model: str) -> Show:
    """Return a model by name.

    Raises:
        UnknownNameError: No such model is being served.
    """
    if model not in library:
        hint = f"This server has: {', '.join(library)}"
        raise UnknownNameError(unknown_name_message("model", model, tuple(library), hint))
    return library[model]
