"""The classic MuJoCo tasks of gymnasium, in their version 4."""
