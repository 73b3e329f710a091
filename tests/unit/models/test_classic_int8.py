"""A quantised dream says what it quantised, dreams nearly the same and chooses the same actions."""

import torch

from reverie.models.classic.controller import ControllerConfig, act
from reverie.models.classic.quantise import quantise_int8
from tests.support.classic import make_classic_world
from tests.support.dreams import make_batch, random_frames, seeded

ROWS = 200


def test_an_int8_dream_acts_like_the_float_one_and_the_report_names_what_stayed_float() -> None:
    world = make_classic_world(num_units=32)
    small, report = quantise_int8(world)
    assert set(report.quantised) == {"rnn.lstm.inputs", "rnn.lstm.recurrent", "rnn.output"}
    assert {"rnn.reward", "vae.encoder.0", "vae.decoder.0"} <= set(report.kept)
    assert not set(report.kept) & set(report.quantised)
    frames = random_frames(16, 16, rows=ROWS, num_frames=4)
    batch = make_batch(ROWS, 4, frames=frames)
    noise = world.draw_context_noise(ROWS, 4, seeded())
    controller = ControllerConfig(num_features=world.num_features, action_map="binary")
    parameters = torch.randn(1, controller.num_parameters, generator=seeded(1))
    chosen, latents = [], []
    for model in (world, small):
        state = model.start(batch, noise)
        state, prediction = model.step(
            state, batch.prev_actions[:, 3], model.draw_noise(ROWS, seeded(2))
        )
        chosen.append(act(controller, parameters, model.features(state)[:, None]))
        latents.append(prediction.latent)
    assert float((chosen[0] == chosen[1]).float().mean()) >= 0.97
    assert 0 < float((latents[0] - latents[1]).abs().max()) < 0.2
    assert torch.equal(world.start(batch, noise).latent, world.start(batch, noise).latent)
