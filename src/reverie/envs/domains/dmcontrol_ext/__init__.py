"""Further tasks in the manner of the DeepMind Control Suite: other goals and other bodies."""
