"""The truth: which jobs exist and how they ended."""
