"""Making pictures and films larger than they came."""
