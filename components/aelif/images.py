"""Container image of each kind of step."""

from aelif import __version__

CPU = f"aelif/cpu-python:{__version__}"
"""For steps that need no accelerator."""

GPU = f"aelif/gpu-python:{__version__}"
"""For training, synthesis and embedding."""
