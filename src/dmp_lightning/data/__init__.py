"""Training data: sources of samples, latents on disk, and the pictures that they are made from."""
