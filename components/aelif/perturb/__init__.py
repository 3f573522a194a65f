"""Errors that people make in prompts: seeded, recorded edit by edit, safe for any script."""

from aelif.perturb.edits import Edit, Perturbed, apply_edits
from aelif.perturb.families import FAMILY_FUNCTIONS
from aelif.perturb.scope import Scope

__all__ = ["FAMILY_FUNCTIONS", "Edit", "Perturbed", "Scope", "apply_edits"]
