"""Container image of each kind of step."""

from aelif import __version__

CPU = f"aelif/cpu-python:{__version__}"
"""For steps that neither run a model nor import what does."""

GPU = f"aelif/gpu-python:{__version__}"
"""With PyTorch and CUDA: for steps that run a model, or read, compose or register one."""
