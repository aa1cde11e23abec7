"""What may be built from a file or a config."""
