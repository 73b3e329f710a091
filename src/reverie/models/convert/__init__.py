"""Published weights in, our own model folders out."""
