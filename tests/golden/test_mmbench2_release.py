"""The tiny release runs on our own modules and gives the release's own numbers."""

import pytest
import torch

from tests.support.release import golden
from tests.support.release_outputs import reproduced

TOLERANCE = 1e-4
INPUTS = {
    "tok_frames_u8 tok_rand_latents dyn_packed dyn_actions dyn_act_mask dyn_step_idx",
    "dyn_signal_idx dyn_lang_emb util_reward samp_past samp_actions samp_act_mask samp_lang_emb",
    "samp_noise_init samp_noise_ctx u_past u_actions u_act_mask u_lang_emb u_noise_init",
    "u_noise_ctx roll_actions roll_act_mask roll_lang_emb roll_noise_init roll_noise_ctx_0",
    "roll_noise_ctx_1 roll_noise_ctx_2",
}
NOT_FLOAT32 = {"u_r_bf16"}
"""Computed by the release under autocast; its README says not to compare it closely."""
NAMES = sorted(set(golden()) - set(" ".join(INPUTS).split()) - NOT_FLOAT32)


def test_every_array_of_the_release_is_either_an_input_or_reproduced() -> None:
    assert set(reproduced()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_our_modules_give_the_array_of_the_release(name: str) -> None:
    ours, theirs = reproduced()[name], golden()[name]
    assert ours.shape == theirs.shape
    if not theirs.is_floating_point():
        assert torch.equal(ours, theirs)
        return
    difference = (ours.double() - theirs.double()).abs().max()
    assert float(difference / theirs.double().abs().max()) <= TOLERANCE
