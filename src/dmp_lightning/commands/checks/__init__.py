"""Checks of the user's input, made before anything is built."""
