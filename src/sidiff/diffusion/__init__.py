"""The masked diffusion model over semantic IDs: denoiser, noising, objective."""
