"""What the service reads and answers; the OpenAPI schema is made of these."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_FRAMES = 128
"""Frames that any window may have; a model's own limit is usually smaller."""
MAX_STEPS = 200
"""Steps that a dream may be asked for."""
MAX_SAMPLES = 64
MAX_LANES = 64
MAX_SEED = 2**53 - 1
"""Largest whole number that every JSON reader keeps exactly."""
_MAX_FRAME_TEXT = 4_000_000

Lane = Annotated[float, Field(ge=-1, le=1)]
Action = Annotated[list[Lane], Field(min_length=1, max_length=MAX_LANES)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Share = Annotated[float, Field(ge=0, le=1)]
FrameText = Annotated[
    str, Field(min_length=4, max_length=_MAX_FRAME_TEXT, json_schema_extra={"format": "frame"})
]


class _Strict(BaseModel):
    """Unknown fields are errors: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid")


class Window(_Strict):
    """The newest real frames of an episode, oldest first, and the actions between them."""

    frames: Annotated[list[FrameText], Field(min_length=1, max_length=MAX_FRAMES)]
    """Base64 of pictures of the model's size."""
    actions: Annotated[list[Action], Field(max_length=MAX_FRAMES)] = []
    """``actions[t]`` led from ``frames[t]`` to ``frames[t + 1]``: one fewer than frames."""
    starts_episode: bool
    """True if the first frame is the first one of its episode. Otherwise it only tells which action
    led to the second one, because what led to itself is not known."""
    format: Literal["png", "rgb"] = "png"
    """``rgb``: height x width x 3 bytes, row by row."""
    task: Annotated[str, Field(max_length=200)] | None = None
    """One of the model's tasks; its first one by default."""


class _Source(_Strict):
    window: Window | None = None
    """Frames posted with the request: any worker can answer."""
    session: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Or the name of a session that holds them."""
    seed: Seed = 0
    """Root of the noise; the same request with the same seed has the same answer."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.window is None) == (self.session is None):
            raise ValueError("give either a window or a session, not both or none")
        return self


class EncodeRequest(_Source):
    """Which frames to encode."""


class ImagineRequest(_Source):
    """Where to dream from, and under which actions."""

    actions: Annotated[list[Action], Field(min_length=1, max_length=MAX_STEPS)] | None = None
    """One per step. Without them the model's controller acts for ``horizon`` steps."""
    horizon: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 10
    """Steps to dream where no actions are given."""
    num_samples: Annotated[int, Field(ge=2, le=MAX_SAMPLES)] = 2
    """Dreams side by side; numbers are their means."""
    with_frames: bool = False
    """Add the frames of the first dream, as PNG."""
    with_latents: bool = False
    """Add the latents of the first dream."""


class _Judged(_Source):
    min_confidence: Share | None = None
    """Refuse below this confidence; the fitted threshold by default."""
    min_survival: Share | None = None
    """Refuse if the chance to be alive at the end of the dream is below this."""


class ActRequest(_Judged):
    """Where the controller stands."""

    verify: bool = True
    """Whether to dream ahead and refuse an action that cannot be trusted."""
    fallback_action: Action | None = None
    """What to do instead of a refused action, such as the last safe one; none abstains."""


class VerifyRequest(_Judged):
    """Which action to check before it is executed."""

    action: Action


class SessionRequest(_Strict):
    """What to remember frames of."""

    task: Annotated[str, Field(max_length=200)] | None = None


class ObserveRequest(_Strict):
    """The newest real frame of a session."""

    frame: FrameText
    action: Action | None = None
    """What led to the frame; none at the first frame of an episode, which forgets the last one."""
    format: Literal["png", "rgb"] = "png"


class EncodeResponse(_Strict):
    """Latents of the frames, in units of their own standard deviation."""

    latents: list[list[list[float]]]
    """By frame, token and channel."""
    scale: float
    """Times this they are in the tokenizer's own units."""
    latency_ms: float


class Step(_Strict):
    """One dreamed step, as the mean over the dreams."""

    reward: float | None
    continues: float | None
    survival: float | None
    action: list[float]
    u_r: float | None
    u_f: float | None
    u_s: float | None


class ImagineResponse(_Strict):
    """What the dreams showed."""

    steps: list[Step]
    expected_return: float | None
    """Sum of rewards, each weighed by the chance to be alive."""
    frames: list[str] | None
    latents: list[list[list[float]]] | None
    latency_ms: float


class Readings(_Strict):
    """Largest readings over the dream; none where they are not defined."""

    surprise: float | None
    u_r: float | None
    u_f: float | None
    u_s: float | None


class VerifyResponse(_Strict):
    """Whether the action may be executed."""

    verdict: Literal["accept", "reject", "unjudged"]
    """``unjudged``: the model has no fit of what is usual, and no limit was asked for."""
    reasons: list[str]
    """Why it was refused, or could not be judged."""
    confidence: float | None
    threshold: float | None
    readings: Readings
    survival: float | None
    """Chance to be alive at the end of the dream."""
    expected_return: float | None
    horizon: int
    num_samples: int
    latency_ms: float


class ActResponse(_Strict):
    """What to do."""

    action: list[float] | None
    """None where the model abstains."""
    source: Literal["controller", "fallback", "abstain"]
    verification: VerifyResponse | None
    latency_ms: float


class SessionResponse(_Strict):
    """A session and when it is forgotten."""

    session: str
    task: str
    expires_in_s: float
    num_frames: int


class HealthResponse(_Strict):
    """That the service runs, and what it serves."""

    status: Literal["ok"]
    version: str
    model: str
    family: str
    tasks: list[str]
    action_widths: dict[str, int]
    frame_shape: list[int]
    max_frames: int
    has_controller: bool
    has_acceptance: bool
    """Whether ``verify`` knows what is usual in real play."""
    precision: Literal["int8", "float32"]
    float_layers: list[str]
    """Layers that an INT8 model keeps in float32."""
    sessions: int
    workers: int


class ProblemResponse(_Strict):
    """What was wrong, and what to do."""

    detail: str
