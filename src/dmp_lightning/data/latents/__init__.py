"""Stores of latents: ours, and those of other projects."""
