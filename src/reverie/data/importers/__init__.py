"""Foreign data sets, read safely and written into our own store."""
