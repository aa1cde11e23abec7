"""Measuring: features of images, metrics over them, generation of samples, and the paired validation loss."""
