"""What page and server say to each other: frozen dataclasses, from which the schema is made.

Text messages are JSON objects with a ``type``. A frame travels as one binary message, so that the
pictures and the numbers that belong to them cannot part: four bytes with the length of the JSON
(little endian), the JSON of a ``Frame``, the real picture, the dreamed picture (raw RGB rows).
"""

import json
import math
import re
import struct
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from reverie.core.config import from_dict, to_dict
from reverie.core.errors import ConfigError, ReverieError
from reverie.core.registry import unknown_name_message

Level = Literal["green", "yellow", "red", "unknown"]
Phase = Literal["context", "dream"]
Autopilot = Literal["off", "random", "expert", "agent"]

MAX_TEXT_BYTES = 4096
"""Longest message a page may send; the longest useful one is an action of 64 lanes (1.3 KB)."""

MIN_RATE_HZ = 1.0
MAX_RATE_HZ = 60.0


class ProtocolError(ReverieError, ValueError):
    """A message that does not follow the protocol."""


# --- from the page to the server --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Begin to play: choose model and task. Also switches while playing."""

    model: str
    task: str
    seed: int | None = None
    """Seed of simulator and dream; None draws one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """The action from now on, one value in [-1, 1] per lane; the latest one wins."""

    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """Hold both worlds, or let them go on."""

    is_paused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOnce:
    """Advance one frame; pauses if it was not paused."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reset:
    """Start a new episode."""

    seed: int | None = None
    """Seed of the new episode; None takes the next of the session's own series."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reseed:
    """Start the dream again from the present real frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SetRate:
    """Frames per second to aim for."""

    rate_hz: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SetAutopilot:
    """Who drives: the person, a random policy, a scripted expert, the model's own controller."""

    driver: Autopilot


# --- from the server to the page --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyBinding:
    """What one key does: while held it sets ``lane`` to ``value``."""

    keys: tuple[str, ...]
    """Names as in the browser's ``KeyboardEvent.code``; any of them works."""
    lane: int
    value: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCard:
    """One task that can be played."""

    name: str
    domain: str
    instruction: str
    action_names: tuple[str, ...]
    is_discrete: bool
    max_steps: int
    has_expert: bool
    has_agent: bool
    """Whether the model has a controller of its own."""
    keys: tuple[KeyBinding, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """One model that can be played, with the tasks it was trained on."""

    name: str
    height_px: int
    width_px: int
    max_context: int
    num_flow_steps: int
    tasks: tuple[TaskCard, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Welcome:
    """First message of a connection: everything the page can offer."""

    version: str
    models: tuple[ModelCard, ...]
    first_task: str | None
    """Task to begin with, where the person who started the server named one."""
    rate_hz: float
    min_rate_hz: float
    max_rate_hz: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Threshold:
    """Absolute limits of one reading for one task, from held-out clips, never from this episode."""

    name: str
    yellow: float
    red: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """An episode began."""

    model: str
    task: str
    seed: int
    context_frames: int
    """Real frames that are gathered before the dream begins."""
    thresholds: tuple[Threshold, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One predictor at one dreamed frame."""

    name: str
    raw: float | None
    """None where the predictor is undefined."""
    normalised: float | None
    level: Level


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """The calibrated probability that the dream goes wrong, and how the warning compares."""

    probability: float | None
    """Of divergence within the next ``ahead`` frames; None where a reading is undefined."""
    held: float | None
    """The largest since the dream began: what the flag looks at, because wrong dreams calm down."""
    threshold: float | None
    """Above it the flag is raised, in 5 % of dreams that stay good; None never flags."""
    ahead: int
    flagged_at: int | None
    """Dreamed frames until the flag."""
    diverged_at: int | None
    """Dreamed frames until the dream was no better than a still picture: the simulator knows."""
    lead: int | None
    """Frames by which the flag came before that; negative is too late."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heat:
    """Where in the picture the dream looks wrong, row by row, 0 to 255."""

    rows: int
    columns: int
    values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One moment: both pictures follow in the same binary message."""

    index: int
    """Frames shown since the session began."""
    height_px: int
    width_px: int
    phase: Phase
    """``context``: the dream has not begun, both pictures are real."""
    context_seen: int
    """Real frames gathered so far, at most ``Started.context_frames``."""
    episode: int
    episode_step: int
    horizon: int
    """Dreamed frames since the last real one."""
    action: tuple[float, ...]
    driver: Autopilot
    readings: tuple[Reading, ...]
    level: Level
    """The worst of the readings' levels; red from the flag on, where there is a calibration."""
    outlook: Outlook | None
    """None without a calibration, and while real frames are gathered."""
    heat: Heat | None
    """None while real frames are gathered."""
    psnr_db: float | None
    """Dream against the real frame of the same moment; None without a dream."""
    reward: float
    dreamed_reward: float | None
    continues: float | None
    """Probability, says the dream, that the episode goes on."""
    score: float | None
    shown_fps: float | None
    """Frames per second that this session really gets."""
    dream_fps: float | None
    """Frames per second that the dream alone, with its readings, could do."""
    simulator_fps: float | None
    is_paused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice:
    """Something worth saying that is not an error, such as the end of an episode."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something went wrong; the text says what to do. The connection stays unless it is closed."""

    code: Literal["message", "unknown", "busy", "idle", "rate", "size", "refused", "internal"]
    text: str


ClientMessage = Start | Act | Pause | StepOnce | Reset | Reseed | SetRate | SetAutopilot
ServerMessage = Welcome | Started | Frame | Notice | Problem

CLIENT_KINDS: tuple[type[Any], ...] = (
    Start,
    Act,
    Pause,
    StepOnce,
    Reset,
    Reseed,
    SetRate,
    SetAutopilot,
)
SERVER_KINDS: tuple[type[Any], ...] = (Welcome, Started, Frame, Notice, Problem)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shown:
    """A ``Frame`` with its two pictures, before it is packed for the wire."""

    frame: Frame
    real: UInt8[np.ndarray, "h w 3"]
    dream: UInt8[np.ndarray, "h w 3"]


def type_name(kind: type[Any]) -> str:
    """Return the ``type`` under which a message travels: ``StepOnce`` is ``step_once``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


_CLIENT_BY_NAME = {type_name(kind): kind for kind in CLIENT_KINDS}


def parse_client_message(text: str) -> ClientMessage:
    """Read one message of a page, strictly.

    Raises:
        ProtocolError: It is too long, no JSON, of an unknown type, or has wrong fields.
    """
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ProtocolError(
            f"A message may have at most {MAX_TEXT_BYTES} bytes, got {len(text.encode())}."
        )
    values = _json_object(text)
    name = values.pop("type", None)
    if not isinstance(name, str):
        raise ProtocolError('A message needs a \'type\', such as {"type": "reset"}.')
    if name not in _CLIENT_BY_NAME:
        hint = f"Known types: {', '.join(_CLIENT_BY_NAME)}"
        names = tuple(_CLIENT_BY_NAME)
        raise ProtocolError(unknown_name_message("message type", name, names, hint))
    return _build(_CLIENT_BY_NAME[name], name, values)


def encode_text(message: Welcome | Started | Notice | Problem) -> str:
    """Write a message as JSON text."""
    return json.dumps({"type": type_name(type(message)), **to_dict(message)}, allow_nan=False)


def encode_frame(shown: Shown) -> bytes:
    """Pack a frame and its pictures into one binary message."""
    header = json.dumps({"type": "frame", **to_dict(shown.frame)}, allow_nan=False).encode()
    return b"".join(
        (struct.pack("<I", len(header)), header, shown.real.tobytes(), shown.dream.tobytes())
    )


def decode_frame(content: bytes) -> Shown:
    """Unpack what ``encode_frame`` packed."""
    (length,) = struct.unpack_from("<I", content)
    values = json.loads(content[4 : 4 + length])
    del values["type"]
    frame = from_dict(Frame, values)
    shape = (2, frame.height_px, frame.width_px, 3)
    pictures = np.frombuffer(content, np.uint8, offset=4 + length).reshape(shape)
    return Shown(frame=frame, real=pictures[0], dream=pictures[1])


def finite_or_none(value: float | None) -> float | None:
    """Return None for NaN and infinities, which JSON cannot say."""
    return value if value is not None and math.isfinite(value) else None


def _json_object(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ProtocolError(f"A message must be a JSON object, got {text[:40]!r}.") from error
    if not isinstance(values, dict):
        raise ProtocolError(f"A message must be a JSON object, got {text[:40]!r}.")
    return values


def _refuse_constant(name: str) -> float:
    raise ProtocolError(f"Numbers must be finite, got {name}.")


def _build(kind: type[Any], name: str, values: dict[str, Any]) -> Any:
    optional = {item.name: item.default for item in fields(kind) if item.default is not MISSING}
    complete = {**optional, **values}
    missing = [item.name for item in fields(kind) if item.name not in complete]
    if missing:
        raise ProtocolError(f"The message '{name}' needs {', '.join(missing)}.")
    try:
        message = from_dict(kind, complete)
    except ConfigError as error:
        raise ProtocolError(f"The message '{name}' is wrong: {error}") from error
    if isinstance(message, Act) and not all(map(math.isfinite, message.values)):
        raise ProtocolError("The message 'act' is wrong: values must be finite.")
    return message
