"""Hooks of a validation: the paired loss, the Fréchet distance, and the pictures."""
