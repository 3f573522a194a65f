"""Fine-tuned text-to-image models that survive real people's prompts, and the proof of it."""

__version__ = "0.1.0"
