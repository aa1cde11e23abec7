"""What a run leaves on disk, for those who write it and those who read it."""
