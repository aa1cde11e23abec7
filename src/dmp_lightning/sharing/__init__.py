"""Publishing a patch: its file, a model card, and the pictures of the run that measured it."""
