"""Writing down what is said."""
