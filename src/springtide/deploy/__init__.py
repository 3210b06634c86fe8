"""Configuration to Kubernetes objects."""
