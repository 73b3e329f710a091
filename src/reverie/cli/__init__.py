"""The command line: words typed by people become one call."""
