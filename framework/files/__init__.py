"""Arrays, models and downloads on the disk."""
