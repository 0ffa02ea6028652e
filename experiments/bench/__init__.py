"""The bench: our step, and what people would use instead, measured side by side."""
