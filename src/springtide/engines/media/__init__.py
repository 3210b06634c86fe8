"""Small engines that finish what a model has made. No weights, no GPU."""
