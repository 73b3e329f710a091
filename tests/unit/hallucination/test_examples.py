"""Worked examples of the specification, to six digits."""

import pytest
import torch

from reverie.hallucination import normalise
from reverie.hallucination.gauges import make_gauge
from reverie.hallucination.predictors import dispersion, root_mean_square
from reverie.models.api import LatentSpec, Prediction, StepContext
from tests.support.worlds import PixelTokenizer, PlainState, RuleWorld, still_rule

DIGITS = {"abs": 5e-7, "rel": 0}


class AffineTokenizer(PixelTokenizer):
    """Enc(Dec(z)) = 0.9 z + 0.01."""

    def round_trip(self, latents: torch.Tensor) -> torch.Tensor:
        return 0.9 * latents + 0.01


def step_to(latent: list[list[float]], trace: torch.Tensor | None = None) -> StepContext:
    before = torch.tensor([[[0.0, 0.2], [-0.1, 0.4]]], dtype=torch.float64)
    after = torch.tensor([latent], dtype=torch.float64)
    if before.shape != after.shape:
        before = torch.zeros_like(after)
    state = PlainState(latent=before, num_frames=8, task=("toy-paint",))
    prediction = Prediction(
        latent=after,
        reward=torch.zeros(1),
        continues=torch.ones(1),
        features=torch.zeros(1, 1),
        trace=after[:, None] if trace is None else trace,
    )
    moved = PlainState(latent=after, num_frames=9, task=("toy-paint",))
    return StepContext(before=state, action=torch.zeros(1, 3), prediction=prediction, after=moved)


SEEDS = ([[0.1, 0.3], [0.1, 0.5]], [[0.2, 0.1], [-0.2, 0.6]])


def test_example_a_residual_and_motion() -> None:
    world = RuleWorld(still_rule, tokenizer=AffineTokenizer())
    residual, motion = make_gauge("u_r"), make_gauge("m")
    u_r = [float(residual(world, step_to(latent))) for latent in SEEDS]
    m = [float(motion(world, step_to(latent))) for latent in SEEDS]
    assert u_r == pytest.approx([0.022361, 0.029580], **DIGITS)
    assert m == pytest.approx([0.132288, 0.158114], **DIGITS)
    assert sum(a / b for a, b in zip(u_r, m, strict=True)) / 2 == pytest.approx(0.178057, **DIGITS)


def test_example_a_dispersion() -> None:
    samples = torch.tensor([SEEDS], dtype=torch.float64)
    assert float(samples.var(dim=1).mean()) == pytest.approx(0.018750, **DIGITS)
    assert float(dispersion(samples)) == pytest.approx(0.136931, **DIGITS)
    moved = (0.132288 + 0.158114) / 2
    assert float(dispersion(samples)) / moved == pytest.approx(0.943044, abs=5e-6)


def test_example_b_flow_instability() -> None:
    trace = torch.tensor(
        [[[[1.0, 0.0]], [[0.6, 0.2]], [[0.5, 0.3]], [[0.52, 0.28]]]], dtype=torch.float64
    )
    reading = make_gauge("u_f")(RuleWorld(still_rule), step_to([[0.52, 0.28]], trace))
    assert float(reading) == pytest.approx(0.06, **DIGITS)
    moves = [float(root_mean_square(trace[:, i] - trace[:, i - 1])) for i in (1, 2, 3)]
    assert moves == pytest.approx([0.316228, 0.1, 0.02], **DIGITS)


@pytest.mark.parametrize(("num_substeps", "counted"), [(2, 1), (4, 2), (8, 4), (16, 8)])
def test_flow_instability_counts_the_last_half(num_substeps: int, counted: int) -> None:
    # Substep i moves by i: the mean tells which moves were counted.
    path = torch.cumsum(torch.arange(num_substeps, dtype=torch.float64), dim=0)
    trace = path.view(1, num_substeps, 1, 1).expand(-1, -1, 2, 2)
    last = [[float(path[-1])] * 2] * 2
    reading = make_gauge("u_f")(RuleWorld(still_rule), step_to(last, trace))
    kept = range(num_substeps - counted, num_substeps)
    assert float(reading) == pytest.approx(sum(kept) / counted)


def test_example_c_normalisers() -> None:
    u = torch.tensor([[0.06, 0.05, 0.04]], dtype=torch.float64)
    m = torch.tensor([[0.10, 0.02, 0.0005]], dtype=torch.float64)
    of_task = torch.full_like(m, 0.08)
    assert normalise.per_step(u, m)[0].tolist() == pytest.approx([0.6, 2.5, 40.0])
    assert float(normalise.per_clip(u, m)) == pytest.approx(1.244813, **DIGITS)
    assert normalise.per_task(u, of_task)[0].tolist() == pytest.approx([0.75, 0.625, 0.5])
    running = normalise.running(u, m, decay=0.9)
    assert running[0].tolist() == pytest.approx([0.6, 0.863636, 1.089447], **DIGITS)
    assert normalise.floored(u, m, of_task)[0].tolist() == pytest.approx([0.6, 1.25, 1.0])


def test_example_c_running_motion() -> None:
    mean = normalise.RunningMotion.start(1, decay=0.9)
    assert torch.isnan(mean.value).all()
    seen = []
    for value in (0.10, 0.02, 0.0005):
        mean = mean.update(torch.tensor([value], dtype=torch.float64))
        seen.append(float(mean.value))
    assert seen == pytest.approx([0.1, 0.057895, 0.036716], **DIGITS)


def test_example_q_farming_standstill_does_not_pay_with_the_floor() -> None:
    def objective(readings: torch.Tensor) -> float:
        return float(0.5 * readings.mean() + 0.5 * readings.max())

    u = torch.tensor([0.06, 0.05, 0.04], dtype=torch.float64)
    m = torch.tensor([0.10, 0.02, 0.0005], dtype=torch.float64)
    moving_u = torch.tensor([0.09, 0.10, 0.11], dtype=torch.float64)
    moving_m = torch.tensor([0.08, 0.09, 0.10], dtype=torch.float64)
    of_task = torch.full_like(m, 0.08)
    assert objective(normalise.per_step(u, m)) == pytest.approx(27.183333, **DIGITS)
    assert objective(normalise.per_step(moving_u, moving_m)) == pytest.approx(1.118519, **DIGITS)
    assert objective(normalise.floored(u, m, of_task)) == pytest.approx(1.1, **DIGITS)
    moving = objective(normalise.floored(moving_u, moving_m, of_task))
    assert moving == pytest.approx(1.118519, **DIGITS)


def test_a_latent_spec_of_another_scale_changes_units_only() -> None:
    plain = RuleWorld(still_rule, tokenizer=AffineTokenizer())
    scaled = RuleWorld(still_rule, tokenizer=AffineTokenizer())
    scaled.latent_spec = LatentSpec(num_tokens=2, num_channels=2, scale=0.25)
    for name in ("u_r", "m"):
        gauge = make_gauge(name)
        whole = float(gauge(plain, step_to(SEEDS[0])))
        assert float(gauge(scaled, step_to(SEEDS[0]))) == pytest.approx(0.25 * whole)
