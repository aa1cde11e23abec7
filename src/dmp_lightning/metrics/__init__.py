"""Measuring: features, the Fréchet distance over them, generation of the samples, and the paired validation loss."""
