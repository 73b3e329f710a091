"""World models: networks, the maths of shortcut flow, rollouts, and the one door from disk."""
