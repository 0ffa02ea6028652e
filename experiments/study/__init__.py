"""The paper's studies, planned, trained and drawn: `python -m experiments.study teaching with digits`."""
