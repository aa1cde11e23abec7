"""Captions of pictures, from the files that people keep them in."""
