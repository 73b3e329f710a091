"""The shortcut transformer: its maths, its network, its objective, its dream."""
