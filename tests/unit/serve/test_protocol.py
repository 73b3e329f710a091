import json
import re

import numpy as np
import pytest

from reverie.serve.protocol import (
    CLIENT_KINDS,
    MAX_TEXT_BYTES,
    SERVER_KINDS,
    Act,
    Frame,
    Heat,
    Notice,
    Outlook,
    ProtocolError,
    Reading,
    Shown,
    Start,
    decode_frame,
    encode_frame,
    encode_text,
    parse_client_message,
    type_name,
)
from reverie.serve.schema import STATIC, message_schema, object_schema, schema_module


def make_frame(**changes: object) -> Frame:
    values = {
        "index": 3,
        "height_px": 2,
        "width_px": 5,
        "phase": "dream",
        "context_seen": 8,
        "episode": 1,
        "episode_step": 12,
        "horizon": 4,
        "action": (0.5, -1.0),
        "driver": "off",
        "readings": (Reading(name="u_r", raw=0.1, normalised=None, level="unknown"),),
        "level": "unknown",
        "outlook": Outlook(
            probability=0.25,
            held=0.5,
            threshold=None,
            ahead=8,
            flagged_at=None,
            diverged_at=3,
            lead=None,
        ),
        "heat": Heat(rows=1, columns=2, values=(0, 255)),
        "psnr_db": 21.5,
        "reward": 0.0,
        "dreamed_reward": None,
        "continues": 1.0,
        "score": None,
        "shown_fps": 15.0,
        "dream_fps": 40.0,
        "simulator_fps": None,
        "is_paused": False,
    }
    return Frame(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "A message must be a JSON object, got 'hello'."),
        ("[1]", "A message must be a JSON object, got '[1]'."),
        ("{}", "A message needs a 'type', such as"),
        (
            '{"type": "rset"}',
            "Unknown message type 'rset'. Did you mean 'reset'? Known types:",
        ),
        ('{"type": "start", "model": "m"}', "The message 'start' needs task."),
        ('{"type": "act", "values": "left"}', "The message 'act' is wrong: values must be"),
        ('{"type": "act", "values": [NaN]}', "Numbers must be finite, got NaN."),
        ('{"type": "act", "values": [1e999]}', "values must be finite"),
        ('{"type": "act", "values": [1], "x": 1}', "Unknown Act field 'x'."),
        ('{"type": "act", "values": [1' + "0" * 400 + "]}", "values is too large for a float"),
        ('{"type": "set_rate", "rate_hz": 1' + "0" * 400 + "}", "rate_hz is too large"),
        ('{"type": "pause", "is_paused": 1}', "is_paused must be"),
        ('{"type": "set_autopilot", "driver": "cat"}', "driver must be one of"),
        ('{"type": "reset", "seed": 1.5}', "seed must be"),
        ("[" * 3000, "A message must be a JSON object"),
        ('{"type": "reset"}' + " " * MAX_TEXT_BYTES, f"at most {MAX_TEXT_BYTES} bytes"),
    ],
)
def test_a_wrong_message_is_answered_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_client_message(text)
    assert said in str(caught.value)


def test_messages_are_read_with_defaults_and_integers_as_numbers() -> None:
    assert parse_client_message('{"type": "act", "values": [1, -0.5]}') == Act(values=(1.0, -0.5))
    message = parse_client_message('{"type": "start", "model": "m", "task": "t"}')
    assert message == Start(model="m", task="t", seed=None)


def test_a_frame_and_its_pictures_survive_the_wire() -> None:
    rng = np.random.default_rng(0)
    real, dream = rng.integers(0, 256, (2, 2, 5, 3), dtype=np.uint8)
    shown = decode_frame(encode_frame(Shown(frame=make_frame(), real=real, dream=dream)))
    assert shown.frame == make_frame()
    assert np.array_equal(shown.real, real)
    assert np.array_equal(shown.dream, dream)


def test_a_number_that_json_cannot_say_is_refused_when_encoding() -> None:
    picture = np.zeros((2, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="JSON"):
        encode_frame(Shown(frame=make_frame(psnr_db=float("inf")), real=picture, dream=picture))


def test_the_schema_file_of_the_page_is_the_one_the_server_speaks() -> None:
    found = (STATIC / "schema.js").read_text()
    assert found == schema_module(), "run: python -m reverie.serve.schema"


def test_every_message_has_a_schema_with_exactly_its_fields() -> None:
    schema = message_schema()
    assert set(schema["client"]) == {type_name(kind) for kind in CLIENT_KINDS}
    assert set(schema["server"]) == {type_name(kind) for kind in SERVER_KINDS}
    assert schema["client"]["start"]["required"] == ["model", "task"]
    assert schema["client"]["act"]["properties"]["values"]["items"] == {"type": "number"}
    properties = schema["server"]["frame"]["properties"]
    assert set(properties) == set(make_frame().__dataclass_fields__)
    assert properties["readings"]["items"] == object_schema(Reading)
    values = json.loads(encode_text(Notice(text="x")))
    assert values == {"type": "notice", "text": "x"}


def test_the_page_sends_and_handles_only_messages_that_exist() -> None:
    code = "\n".join(path.read_text() for path in STATIC.glob("*.js"))
    sent = set(re.findall(r"\.send\(\"(\w+)\"", code))
    assert sent == {type_name(kind) for kind in CLIENT_KINDS}
    handled = set(re.findall(r"case \"(\w+)\":", code)) - {
        *("null", "boolean", "string", "number", "integer", "array")
    }
    assert handled == {type_name(kind) for kind in SERVER_KINDS} - {"frame"}


def test_the_page_reads_only_fields_that_a_frame_has() -> None:
    names = set(message_schema()["server"]["frame"]["properties"]) | {"real", "dream"}
    code = "\n".join((STATIC / name).read_text() for name in ("main.js", "stage.js", "readings.js"))
    read = set(re.findall(r"\bframe\.(\w+)", code))
    assert len(read) > 12
    assert read <= names


def test_the_page_needs_nothing_from_other_servers() -> None:
    for path in STATIC.iterdir():
        for address in re.findall(r"https?://[^\s\"')]+", path.read_text()):
            assert address == "http://www.w3.org/2000/svg", f"{path.name} refers to {address}"
