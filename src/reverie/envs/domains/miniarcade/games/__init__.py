"""One game a module; each is a ``Game`` that ``envs.game_env`` runs."""
