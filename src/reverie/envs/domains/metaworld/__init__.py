"""Meta-World: a Sawyer arm at a table, 49 tasks."""
