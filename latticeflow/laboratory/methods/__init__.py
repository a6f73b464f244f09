"""Generative models and the objectives that train them."""
