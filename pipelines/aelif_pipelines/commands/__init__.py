"""What the `aelif` command can do, a file for each kind of work."""
