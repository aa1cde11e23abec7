"""What is trained on: sources of samples, latents on disk, and the pictures that they are made of."""
