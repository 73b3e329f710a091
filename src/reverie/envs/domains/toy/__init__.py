"""A world whose frames say which action and reward led to them; for tests of alignment."""
