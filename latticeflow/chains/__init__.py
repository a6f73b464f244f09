"""Exact draws from a flow: neural MCMC, importance sampling, and what log weights say."""
