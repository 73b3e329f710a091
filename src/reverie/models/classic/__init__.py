"""The classic family: a VAE (V), a recurrent mixture model (M) and a small controller (C)."""
