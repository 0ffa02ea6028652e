"""From a command line to a Sacred run and back."""
