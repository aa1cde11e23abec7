"""All that knows Hydra: one file a command, and what they share."""
