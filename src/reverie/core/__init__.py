"""Words that every floor shares: episodes, batches, configs, registries, errors, seeds."""
