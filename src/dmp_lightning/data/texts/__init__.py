"""Texts as the states of an encoder: computed once, stored beside the latents, and read as conditions."""
