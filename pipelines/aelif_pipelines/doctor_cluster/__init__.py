"""What a cluster offers a run, and what it lacks: `aelif doctor --cluster`."""
