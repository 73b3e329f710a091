"""RoboDesk: a Franka arm at a desk with buttons, a drawer, a slide and blocks."""
