"""What teacher and student see at some steps: looked at, drawn, and compared on all backends."""
