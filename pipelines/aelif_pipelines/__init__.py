"""The pipelines of aelif, and the command line that runs them."""
