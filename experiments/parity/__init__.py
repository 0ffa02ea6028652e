"""Parity: one spec on every installed backend, from the same weights over the same views, side by side."""
