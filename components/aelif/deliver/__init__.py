"""Copies a run's results to where people look for them."""
