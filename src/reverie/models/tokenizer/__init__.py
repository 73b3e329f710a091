"""Frames to latents and back, behind one protocol."""

from reverie.core.registry import Registry

TOKENIZERS = Registry("tokenizer", "Known tokenizers: 'conv' (per frame), 'causal' (transformer)")
TOKENIZERS.add("conv", "reverie.models.tokenizer.conv:ConvTokenizer")
TOKENIZERS.add("causal", "reverie.models.tokenizer.causal:CausalTokenizer")
