"""Patch a converged diffusion transformer with a mixture of prompts (arXiv 2405.17825)."""
