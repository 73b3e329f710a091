"""Tasks of the DeepMind Control Suite, stock ones and two in other colours."""
