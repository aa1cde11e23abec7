"""The list of what a file or a config may build, and the checks against it."""
