"""Trained students in the files of other libraries, each loaded again before it is kept."""
