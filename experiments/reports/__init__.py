"""Runs to look at: a page, a terminal that follows one, and files for other tools."""
