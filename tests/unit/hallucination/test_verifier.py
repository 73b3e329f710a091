"""The verifier: it learns what follows what, reads rows alone, and refuses other models."""

from pathlib import Path

import pytest
import torch

from reverie.core.errors import CheckpointError, ConfigError, DataError
from reverie.evaluate.clips import cut_clips
from reverie.hallucination.verifier import (
    FILE_NAME,
    HISTORY,
    Verifier,
    VerifierConfig,
    fill_past,
    load_verifier,
    save_verifier,
    verifier_gauge,
)
from reverie.hallucination.verifier_training import (
    Transitions,
    VerifierTraining,
    train_verifier,
    verifier_loss,
)
from reverie.models.api import StepContext
from tests.support.worlds import SIDE_PX, RuleWorld, action_rule, colour_episode

CONFIG = VerifierConfig(num_tokens=3, num_channels=2, action_width=2, width=16, depth=1)
CONTEXT, HORIZON = 8, 12


def moving(rows: int, seed: int, *, obeys: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents whose every token moves by the action, or by something else of the same size."""
    rng = torch.Generator().manual_seed(seed)
    actions = torch.rand((rows, CONTEXT + HORIZON, 2), generator=rng) * 2 - 1
    moves = actions if obeys else actions.flip(1).roll(3, dims=1)
    start = torch.randn((rows, 1, 3, 2), generator=rng)
    return start + 0.5 * moves[:, :, None, :].cumsum(dim=1), actions[:, CONTEXT:]


def transitions(rows: int, seed: int) -> Transitions:
    real, actions = moving(rows, seed, obeys=True)
    dreamed, _ = moving(rows, seed, obeys=False)
    return Transitions(
        real=real,
        passed=real + 0.01,
        dreamed=dreamed[:, None, CONTEXT:],
        actions=actions,
        task=torch.zeros(rows, dtype=torch.int64),
    )


def test_example_m_losses() -> None:
    entropy, _ = verifier_loss(
        torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 0.3]), torch.zeros(1, 2)
    )
    _, contrast = verifier_loss(
        torch.zeros(1), torch.zeros(1), torch.tensor([[2.0, 0.5, -1.0, 0.0]])
    )
    assert float(entropy) == pytest.approx(0.442155, abs=1e-6)
    assert float(contrast) == pytest.approx(0.342350, abs=1e-6)


def test_it_learns_which_transitions_follow_from_their_action() -> None:
    training = VerifierTraining(num_steps=300, num_rows=32, learning_rate=5e-3)
    losses: list[float] = []
    verifier = train_verifier(
        transitions(24, 0), CONFIG, training, on_step=lambda _, loss: losses.append(loss)
    )
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
    real, actions = moving(200, 1, obeys=True)
    wrong, _ = moving(200, 1, obeys=False)
    frame = CONTEXT + 5
    logits = [
        verifier(x[:, frame - HISTORY : frame], actions[:, 5], x[:, frame]) for x in (real, wrong)
    ]
    above = (logits[0][:, None] > logits[1][None]).double().mean()
    assert float(above) > 0.9


def test_the_same_seed_trains_the_same_verifier() -> None:
    training = VerifierTraining(num_steps=3, num_rows=4)
    first, second = (train_verifier(transitions(4, 0), CONFIG, training) for _ in range(2))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    with pytest.raises(DataError, match="needs at least 2 clips to learn from, got 1"):
        train_verifier(transitions(1, 0), CONFIG, training)


def test_a_short_past_is_filled_with_its_first_frame() -> None:
    past = torch.arange(2.0).view(1, 2, 1, 1)
    assert fill_past(past).flatten().tolist() == [0.0, 0.0, 0.0, 1.0]
    assert fill_past(torch.arange(6.0).view(1, 6, 1, 1)).flatten().tolist() == [2, 3, 4, 5]


def test_the_gauge_reads_every_row_as_if_alone() -> None:
    world = RuleWorld(action_rule)
    verifier = Verifier(
        VerifierConfig(num_tokens=SIDE_PX**2, num_channels=3, action_width=3, width=8, depth=1)
    ).eval()
    batch = cut_clips(
        [colour_episode(seed) for seed in range(3)], action_width=3, num_per_episode=1
    ).batch
    state = world.start(batch.slice_time(0, 8), torch.zeros(3, 8, SIDE_PX**2, 3))
    action = batch.prev_actions[:, 8]
    after, prediction = world.step(
        state, action, world.draw_noise(3, torch.Generator().manual_seed(0))
    )
    step = StepContext(before=state, action=action, prediction=prediction, after=after)
    whole = verifier_gauge(verifier)(world, step)  # type: ignore[arg-type]
    past, latent = state.latent[:, None], prediction.latent
    alone = [
        -verifier(past[row : row + 1], action[row : row + 1], latent[row : row + 1])
        for row in range(3)
    ]
    torch.testing.assert_close(whole, torch.cat(alone))
    assert float(whole.std()) > 0.0


def test_a_saved_verifier_is_the_same_and_refuses_another_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no verifier. Train it with: reverie calibrate"):
        load_verifier(tmp_path, checkpoint="a")
    verifier = train_verifier(transitions(4, 0), CONFIG, VerifierTraining(num_steps=2, num_rows=4))
    save_verifier(verifier, tmp_path, checkpoint="a")
    again = load_verifier(tmp_path, checkpoint="a")
    assert again.config == CONFIG
    for name, value in verifier.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(CheckpointError, match="for checkpoint a, and the model is b"):
        load_verifier(tmp_path, checkpoint="b")
    (tmp_path / FILE_NAME).write_bytes(b"0123456789")
    with pytest.raises(DataError, match="is no verifier"):
        load_verifier(tmp_path, checkpoint="a")
    with pytest.raises(ConfigError, match="Every size of a verifier must be at least 1"):
        VerifierConfig(num_tokens=0, num_channels=1, action_width=1)
