"""From a spec to a trained student."""
