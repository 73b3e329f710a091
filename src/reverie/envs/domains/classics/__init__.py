"""Four tasks outside the benchmark that much literature uses."""
