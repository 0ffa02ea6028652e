"""Queued runs are claimed and run: `python -m experiments.worker`."""
