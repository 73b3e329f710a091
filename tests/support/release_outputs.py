"""Every array of the tiny release, computed anew by our own modules."""

from collections.abc import Callable, Iterator
from functools import cache, partial

import torch
from einops import rearrange
from torch import Tensor, nn

from reverie.core.batch import Batch
from reverie.hallucination.predictors import (
    dispersion,
    flow_instability,
    motion,
    round_trip_residual,
)
from reverie.models.api import Noise, StepContext
from reverie.models.dynamics.net import DynamicsNet, FrameInputs
from reverie.models.dynamics.shortcut import Labels
from reverie.models.dynamics.world import ShortcutWorld
from reverie.models.tokenizer.causal import CausalTokenizer
from reverie.nn.attention import KeysValues
from reverie.nn.blocks import Stack, banded_mask
from reverie.nn.distributions import symexp, symlog
from reverie.nn.kv_cache import Cache
from reverie.nn.rope import place_keys
from tests.support.release import golden, imported, release_batch

CPU = torch.device("cpu")
CASES = {"d8": (8, 0.1), "d4": (4, 0.1), "clean": (8, 0.0)}
"""Flow steps and context noise of the sampled frames."""
LEVELS = 64


@cache
def reproduced() -> dict[str, Tensor]:
    with torch.no_grad():
        values: dict[str, Tensor] = {}
        for part in (tokenizer, dynamics, heads, samples, candidates, rollout):
            values |= dict(part())
        return values


def tokenizer() -> Iterator[tuple[str, Tensor]]:
    net = imported().tokenizer
    assert isinstance(net, CausalTokenizer)
    frames = rearrange(golden()["tok_frames_u8"], "b t c h w -> b t h w c")
    pictures = net._pictures(frames)
    yield "tok_patches", to_patches(pictures)
    (tokens,), layers = traced(net.encoder, lambda: net.embed(frames))
    yield "tok_enc_tokens_in", tokens
    yield "tok_enc_layer_out", layers
    latents = net.embed(frames)
    yield "tok_latents_window", latents
    yield "tok_packed_window", packed(latents)
    alone = net.embed(frames.flatten(0, 1)[:, None])[:, 0].unflatten(0, (2, 6))
    yield "tok_latents_t1", alone
    yield "tok_packed_t1", packed(alone)
    (tokens,), layers = traced(net.decoder, lambda: net.paint(latents))
    yield "tok_dec_tokens_in", tokens
    yield "tok_dec_layer_out", layers
    shown = net.paint(golden()["tok_latents_window"])
    yield "tok_decoded_window", shown
    yield "tok_decoded_patches_window", to_patches(shown)
    yield "tok_decoded_t1", paint_alone(net, unpacked(golden()["tok_packed_t1"]))
    yield "tok_rand_decoded_patches", to_patches(net.paint(golden()["tok_rand_latents"]))


def dynamics() -> Iterator[tuple[str, Tensor]]:
    g, net = golden(), imported().net
    ask = partial(whole_window, net)
    (tokens,), layers = traced(net.stack, ask)
    yield "dyn_tokens_in", tokens
    yield "dyn_layer_out", layers
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    variants = {
        "dyn": ask(),
        "dyn_noact": ask(has_action=nothing),
        "dyn_nolang": ask(language=torch.zeros_like(g["dyn_lang_emb"])),
        "dyn_mask1d": ask(mask=g["dyn_act_mask"][-1, -1].expand(2, 4, -1)),
        "dyn_nomask": ask(mask=torch.ones_like(g["dyn_act_mask"])),
        "dyn_t1": ask(cut=slice(3, 4)),
    }
    for name, (clean, agents, _) in variants.items():
        yield f"{name}_x1_hat", packed(clean)
        yield f"{name}_h", agents
    bare = imported("dynamics_noagent.pt").net
    yield "dyn_noagent_x1_hat", packed(whole_window(bare)[0])
    yield from cached_pass(net)


def cached_pass(net: DynamicsNet) -> Iterator[tuple[str, Tensor]]:
    g = golden()
    _, _, past = whole_window(net, cut=slice(0, 3))
    timed = [index for index in range(net.config.stack.depth) if net.config.stack.has_time(index)]
    yield "dyn_cache_layers", torch.tensor(timed)
    places = torch.arange(3)
    keys = [place_keys(item.keys, places, is_mismatched=True) for item in past]
    yield "dyn_cache_k", torch.stack([rearrange(x, "b n t g c -> (b n) g t c") for x in keys])
    values = [rearrange(item.values, "b n t g c -> (b n) g t c") for item in past]
    yield "dyn_cache_v", torch.stack(values)
    cache = Cache.from_window(past, 24, is_mismatched=True)
    last = slice(3, 4)
    actions = (g["dyn_actions"] * g["dyn_act_mask"]).clamp(-1, 1)[:, last]
    inputs = FrameInputs(actions, torch.ones(2, 1, dtype=torch.bool), g["dyn_lang_emb"])
    labels = Labels(g["dyn_signal_idx"][:, last], g["dyn_step_idx"][:, last])
    new = net.prepare(inputs, *cache.blocks())
    clean, agents, _ = net.step(unpacked(g["dyn_packed"])[:, 3], labels, new)
    yield "dyn_cached_x1_hat", packed(clean[:, None])
    yield "dyn_cached_h", agents[:, None]


def heads() -> Iterator[tuple[str, Tensor]]:
    g, world = golden(), imported()
    reward, policy = world.reward_head, world.policy_head
    assert reward is not None and policy is not None
    logits = reward(g["dyn_h"])
    yield "rew_logits", logits
    yield "rew_centers", reward.twohot.bins
    mean = (torch.softmax(logits, dim=-1) * reward.twohot.bins).sum(dim=-1)
    yield "rew_symlog", mean
    yield "rew_value", reward.twohot.decode(logits)
    yield "rew_value_head0", reward.expected(g["dyn_h"])
    alone = reward.out(reward.trunk.mlp(g["dyn_h"][:, :, 0]))
    yield "rew_logits_pooled", alone.unflatten(-1, (6, 23))
    yield "policy_means", policy(g["dyn_h"])
    yield "util_symlog", symlog(g["util_reward"])
    yield "util_symexp", symexp(g["util_symlog"])
    yield "util_twohot", reward.twohot.encode(g["util_reward"])
    rows = g["rew_logits"].flatten(0, 2)[: len(g["util_reward"])]
    yield "util_ce", reward.twohot.loss(rows, g["util_reward"]).mean()


def samples() -> Iterator[tuple[str, Tensor]]:
    for name, (num_steps, noise) in CASES.items():
        for key, value in sampled(num_steps, noise).items():
            yield f"samp_{name}_{key}", value
    g, world = golden(), imported()
    mixed = 0.875 * g["samp_noise_init"] + 0.125 * g["samp_past"][:, -1:]
    level, past = committed(0.01)
    clean, trace = uncached(world, past, level, unpacked(mixed), 8, num_skipped=1)
    yield "samp_warm_ctx_signal_idx", torch.tensor(level)
    yield "samp_warm_n_steps", torch.tensor(trace.shape[1])
    yield "samp_warm_z", walked(mixed, trace, 8)
    yield "samp_warm_next", packed(clean)[:, 0]
    yield "samp_warm_u_f", pooled_instability(trace)
    level, past = committed(0.1)
    start = unpacked(g["samp_noise_init"])
    yield "samp_finest_next", packed(uncached(world, past, level, start, LEVELS)[0])[:, 0]
    yield "samp_empty_next", packed(uncached(world, past[:, :0], level, start, 4)[0])[:, 0]


def sampled(num_steps: int, context_noise: float) -> dict[str, Tensor]:
    """One frame through the world's own step, and once more without its cache."""
    g, world = golden(), imported(num_flow_steps=num_steps)
    level, past = committed(context_noise)
    window = release_batch(g["samp_actions"][:, :-1], g["samp_act_mask"][:, -1], g["samp_lang_emb"])
    state = world.start_from_committed(unpacked(g["samp_past"]), past, window, level)
    start = unpacked(g["samp_noise_init"])[:, 0]
    noise = Noise(start=start, commit=torch.zeros_like(start))
    action = g["samp_actions"][:, -1]
    after, prediction = world.step(state, action, noise)
    step = StepContext(before=state, action=action, prediction=prediction, after=after)
    alone, trace = uncached(world, past, level, start[:, None], num_steps)
    readings = {"u_r": round_trip_residual(world, step), "motion": motion(world, step)}
    strides = torch.arange(num_steps) * (LEVELS // num_steps)
    frame = world.tokenizer.paint(prediction.latent[:, None])  # type: ignore[attr-defined]
    values = {
        "ctx_signal_idx": torch.tensor(level),
        "signal_idx": strides,
        "step_idx": torch.tensor(num_steps.bit_length() - 1),
        "x1_hat": packed(rearrange(prediction.trace, "b k n d -> k b n d")),
        "z": walked(g["samp_noise_init"], prediction.trace, num_steps),
        "next": packed(alone)[:, 0],
        "next_cache": packed(prediction.latent[:, None])[:, 0],
        "h": last_features(world, past, level, trace, start, num_steps),
        "u_f": pooled_instability(prediction.trace),
        "u_f_rows": flow_instability(world, step),
        "frame": frame[:, 0],
        "recoded": packed(world.tokenizer.round_trip(prediction.latent)[:, None])[:, 0],
        "u_r_norm": readings["u_r"] / readings["motion"].clamp_min(1e-3),
        "reward": prediction.reward,
    }
    if context_noise:
        values["past_input"] = packed(past)
    return values | readings


def candidates() -> Iterator[tuple[str, Tensor]]:
    g, world = golden(), imported(num_flow_steps=4)
    rows, seeds = 6, 3
    latents = unpacked(g["u_past"]).expand(rows, -1, -1, -1)
    noisy = 0.9 * latents + 0.1 * unpacked(g["u_noise_ctx"])
    actions = g["u_actions"].repeat_interleave(seeds, dim=0)
    mask, language = (
        g[name].reshape(1, -1).expand(rows, -1) for name in ("u_act_mask", "u_lang_emb")
    )
    start = unpacked(g["u_noise_init"])
    window = release_batch(actions, mask, language)
    clean, trace = uncached(world, noisy, 58, start, 4, window=window)
    each = rearrange(clean[:, 0], "(i s) n d -> i s n d", s=seeds)
    yield "u_pred", packed(each)
    yield "u_s", dispersion(each) ** 2
    mean = each.mean(dim=1)
    net = world.tokenizer
    assert isinstance(net, CausalTokenizer)
    last = latents[:1, -1]
    yield "u_r", rms(mean - net.round_trip(mean))
    yield "u_motion", rms(mean - last)
    yield "u_r_norm", rms(mean - net.round_trip(mean)) / rms(mean - last).clamp_min(1e-3)
    flat = each.flatten(0, 1)
    yield "u_r_each", rms(flat - net.round_trip(flat)).unflatten(0, (2, 3))
    yield "u_motion_each", rms(flat - last).unflatten(0, (2, 3))
    moves = (trace[:, 1:] - trace[:, :-1]).flatten(2).square().mean(dim=2).sqrt()
    yield "u_f_each", moves[:, 1:].mean(dim=1).unflatten(0, (2, 3))
    yield "u_frames_each", paint_alone(net, each)


def rollout() -> Iterator[tuple[str, Tensor]]:
    g, world = golden(), imported(num_flow_steps=4)
    net = world.tokenizer
    assert isinstance(net, CausalTokenizer)
    latents = unpacked(g["tok_packed_window"])[:, :3]
    for index in range(3):
        count = 3 + index
        noisy = 0.9 * latents + 0.1 * unpacked(g[f"roll_noise_ctx_{index}"])
        window = release_batch(
            g["roll_actions"][:, :count], g["roll_act_mask"][:, -1], g["roll_lang_emb"]
        )
        state = world.start_from_committed(latents, noisy, window, 58)
        start = unpacked(g["roll_noise_init"][index])[:, 0]
        noise = Noise(start=start, commit=torch.zeros_like(start))
        _, prediction = world.step(state, g["roll_actions"][:, count], noise)
        latents = torch.cat([latents, prediction.latent[:, None]], dim=1)
    yield "roll_packed", packed(latents)
    shown = net.paint(latents)
    yield "roll_decoded", shown
    yield "roll_decoded_t1", paint_alone(net, latents[:, 3:])
    truth = g["tok_frames_u8"].float() / 255
    errors = {
        "pred": (shown[:, 3:] - truth[:, 3:]).square().mean(),
        "floor": (truth[:, 2:3] - truth[:, 3:]).square().mean(),
    }
    for name, error in errors.items():
        yield f"roll_mse_{name}", error
        yield f"roll_psnr_{name}", -10 * torch.log10(error)
    yield "roll_psnr_gain", -10 * torch.log10(errors["pred"] / errors["floor"])


def whole_window(
    net: DynamicsNet,
    *,
    mask: Tensor | None = None,
    language: Tensor | None = None,
    has_action: Tensor | None = None,
    cut: slice = slice(None),
) -> tuple[Tensor, Tensor, list[KeysValues]]:
    g = golden()
    mask = g["dyn_act_mask"] if mask is None else mask
    language = g["dyn_lang_emb"] if language is None else language
    has_action = torch.ones(2, 4, dtype=torch.bool) if has_action is None else has_action
    inputs = FrameInputs(
        (g["dyn_actions"] * mask).clamp(-1, 1)[:, cut], has_action[:, cut], language
    )
    labels = Labels(g["dyn_signal_idx"][:, cut], g["dyn_step_idx"][:, cut])
    noisy = unpacked(g["dyn_packed"])[:, cut]
    return net(noisy, labels, inputs, banded_mask(noisy.shape[1], net.config.context, CPU))


def committed(context_noise: float) -> tuple[int, Tensor]:
    """Signal level and noisy latents of the sampler's context."""
    g = golden()
    past, noise = unpacked(g["samp_past"]), unpacked(g["samp_noise_ctx"])
    return round(LEVELS * (1 - context_noise)), (1 - context_noise) * past + context_noise * noise


def uncached(
    world: ShortcutWorld,
    past: Tensor,
    level: int,
    start: Tensor,
    num_steps: int,
    *,
    window: Batch | None = None,
    num_skipped: int = 0,
) -> tuple[Tensor, Tensor]:
    """Dream one frame by whole passes over context and frame."""
    denoise = partial(_denoise_last, world, past, level, window)
    clean, trace = world.flow.integrate(
        lambda z, signal, step: denoise(z, signal, step)[0],
        start,
        num_steps,
        world.latent_limit,
        num_skipped=num_skipped,
    )
    return clean, trace[:, :, 0]


def last_features(
    world: ShortcutWorld, past: Tensor, level: int, trace: Tensor, start: Tensor, num_steps: int
) -> Tensor:
    """Agent features of the last substep."""
    walk = unpacked(walked(packed(start[:, None]), trace, num_steps))
    signal = torch.full((2, 1), LEVELS - LEVELS // num_steps)
    step = torch.full((2, 1), num_steps.bit_length() - 1)
    return _denoise_last(world, past, level, None, walk[-2][:, None], signal, step)[1]


def _denoise_last(
    world: ShortcutWorld,
    past: Tensor,
    level: int,
    window: Batch | None,
    z: Tensor,
    signal: Tensor,
    step: Tensor,
) -> tuple[Tensor, Tensor]:
    g, count = golden(), past.shape[1]
    if window is None:
        window = release_batch(g["samp_actions"], g["samp_act_mask"][:, -1], g["samp_lang_emb"])
    assert window.language is not None
    actions = window.prev_actions[:, -(count + 1) :]
    told = torch.ones(actions.shape[:2], dtype=torch.bool)
    inputs = FrameInputs.told(actions, window.action_mask, told, window.language)
    before = torch.full((len(z), count), level)
    labels = Labels(
        torch.cat([before, signal], dim=1),
        torch.cat([torch.full_like(before, LEVELS.bit_length() - 1), step], dim=1),
    )
    mask = banded_mask(count + 1, world.net.config.context, CPU)
    clean, agents, _ = world.net(torch.cat([past, z], dim=1), labels, inputs, mask)
    return clean[:, -1:], agents[:, -1:]


def walked(start: Tensor, trace: Tensor, num_steps: int) -> Tensor:
    """The latent after each executed substep, from the clean estimates; packed, substep first."""
    z, out = unpacked(start)[:, 0], []
    skipped = num_steps - trace.shape[1]
    for index, clean in enumerate(trace.unbind(dim=1), start=skipped):
        z = z + (clean - z) / (num_steps - index)
        out.append(z)
    return packed(torch.stack(out))


def traced(stack: Stack, call: Callable[[], object]) -> tuple[tuple[Tensor], Tensor]:
    """Tokens that enter a stack, and what comes out after one layer, two layers, …"""
    seen: list[Tensor] = []
    outputs, layers = [], stack.layers
    for count in range(1, len(layers) + 1):
        stack.layers = nn.ModuleList(layers[:count])
        hooks = [
            stack.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])),
            stack.register_forward_hook(lambda _, __, out: outputs.append(out[0])),
        ]
        call()
        for hook in hooks:
            hook.remove()
    stack.layers = layers
    return (seen[0],), torch.stack(outputs)


def pooled_instability(trace: Tensor) -> Tensor:
    """u_f as the release reads it: one number for the whole batch."""
    moves = (trace[:, 1:] - trace[:, :-1]).square().mean(dim=(0, 2, 3)).sqrt()
    return moves[(trace.shape[1] - 1) // 2 :].mean()


def paint_alone(net: CausalTokenizer, latents: Tensor) -> Tensor:
    return net.paint(latents.flatten(0, 1)[:, None])[:, 0].unflatten(0, tuple(latents.shape[:2]))


def to_patches(pictures: Tensor) -> Tensor:
    """Patches with channels outermost, as the release lists them."""
    return rearrange(pictures, "b t c (i p) (j q) -> b t (i j) (c p q)", p=7, q=7)


def rms(x: Tensor) -> Tensor:
    return x.flatten(1).square().mean(dim=1).sqrt()


def packed(latents: Tensor) -> Tensor:
    return latents.unflatten(-2, (7, 2)).flatten(-2)


def unpacked(latents: Tensor) -> Tensor:
    return latents.unflatten(-1, (2, 5)).flatten(-3, -2)
