"""The diffusion process: schedule, objective, samplers and guidance."""
