"""``reverie serve``: a frozen model as an HTTP service."""
