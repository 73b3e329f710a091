"""How published weights differ from our own layers: one object, read where layers are made.

Our own models use ``NATIVE`` everywhere. Trainers, planners and the page never look at it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Quirks:
    """Each field is one difference; the default is what our own models do."""

    has_biases: bool = False
    """Attention and feed-forward layers have biases."""
    has_outer_norms: bool = True
    """Norms before and after a stack of layers, before the tanh of latents, and in heads."""
    has_mismatched_rope: bool = False
    """Neighbouring lanes are paired but turn at different rates, before the normalisation of
    queries and keys: logits depend on absolute positions (see ``nn.rope``)."""
    has_exponential_gains: bool = False
    """Gains of attention are min(exp(parameter), 100) instead of 50 sigmoid(parameter)."""
    still_tokens_add_norm: bool = False
    """Tokens that do not attend over time add their own normalised value in time layers."""
    decodes_frames_alone: bool = False
    """A dream is shown frame by frame: the decoder never sees the frames before."""
    has_clean_label: bool = False
    """There is a label for signal 1, which no training visits."""
    zeroes_first_action: bool = False
    """The oldest frame of a context is told a zero action, whatever led to it."""
    agents_need_language: bool = False
    """Without an instruction the agent tokens are zero."""
    pools_projections: bool = False
    """Heads pool learned keys and values of the agent tokens instead of the tokens themselves."""
    rewards_in_symlog: bool = False
    """The mean of the reward distribution is taken in symlog space."""
    reads_last_substep: bool = False
    """Heads read the last flow substep of a dreamed frame instead of the committed frame."""
    has_unbounded_latents: bool = False
    """Clean predictions are not clamped to the tokenizer's range."""


NATIVE = Quirks()
"""Our own models."""

MMBENCH2 = Quirks(
    has_biases=True,
    has_outer_norms=False,
    has_mismatched_rope=True,
    has_exponential_gains=True,
    still_tokens_add_norm=True,
    decodes_frames_alone=True,
    has_clean_label=True,
    zeroes_first_action=True,
    agents_need_language=True,
    pools_projections=True,
    rewards_in_symlog=True,
    reads_last_substep=True,
    has_unbounded_latents=True,
)
"""The released weights of MMBench2 (arXiv 2606.27326)."""
