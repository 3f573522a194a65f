"""Worst case: a search for the few characters whose change raises a model's distance most."""
