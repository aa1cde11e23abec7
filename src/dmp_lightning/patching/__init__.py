"""Patching a base in Python: attach a patch, its training loss, save and load; without Lightning and Hydra."""
