"""The diffusion process: schedule, objective, samplers, guidance, and randomness that depends on counters alone."""
