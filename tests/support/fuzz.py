"""Requests that schemathesis makes up from the OpenAPI schema, with real pictures among them."""

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from reverie.serve.service.window import write_frame

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def know_frames(side_px: int) -> None:
    """Let strings that are frames be real pictures most of the time, and noise at others."""
    rng = np.random.default_rng(0)
    shapes = [(side_px, side_px, 3)] * 6 + [(1, 1, 3), (side_px + 1, side_px, 3)]
    pictures = [write_frame(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]
    strategy = st.one_of(st.sampled_from(pictures), st.text(min_size=4, max_size=40))
    schemathesis.openapi.format("frame", strategy)


def fuzz(
    schema: Any, *, examples: int, root_seed: int, goes_on: Callable[[], bool] = lambda: True
) -> Counter[tuple[str, int]]:
    """Send made-up requests to every operation; a broken promise of the schema raises.

    Args:
        schema: As schemathesis loaded it.
        examples: Requests per operation and kind: valid ones, and broken ones.
        root_seed: Other seeds make other requests.
        goes_on: Asked before each request.
    """
    seen: Counter[tuple[str, int]] = Counter()
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in modes:
            strategy = operation.as_strategy(generation_mode=mode)
            # Where there is nothing to send there is nothing to break.
            with contextlib.suppress(Unsatisfiable):
                _send(operation, strategy, examples, root_seed, seen, goes_on)
    return seen


def _send(
    operation: Any,
    strategy: Any,
    examples: int,
    root_seed: int,
    seen: Counter[tuple[str, int]],
    goes_on: Callable[[], bool],
) -> None:
    @seed(root_seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def send(case: Any) -> None:
        if goes_on():
            response = case.call_and_validate(checks=list(CHECKS))
            seen[operation.path, response.status_code] += 1

    send()
