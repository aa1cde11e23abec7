"""The files that a run leaves, for those who write them and those who read them."""
