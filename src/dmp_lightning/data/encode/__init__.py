"""Encoding images into a store of latents."""
