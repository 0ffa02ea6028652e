"""Many students on one teacher's pass: `python -m experiments.sweep over optimizer.lr=1e-3,3e-3 with RECIPE`."""
