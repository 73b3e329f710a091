"""Frames to latents and back, behind one protocol."""

from reverie.core.registry import Registry

TOKENIZERS = Registry("tokenizer", "Known tokenizers: 'conv' (per frame), 'causal' (transformer)")
"""What a world model may be built with. ``shelf`` has others, to compare with."""
TOKENIZERS.add("conv", "reverie.models.tokenizer.conv:ConvTokenizer")
TOKENIZERS.add("causal", "reverie.models.tokenizer.causal:CausalTokenizer")
