"""The paper's figures from one's own runs: `python -m experiments.figures 4 --where data.name=digits`."""
