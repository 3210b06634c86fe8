"""What files really are, and how engines get them. Decoders are C: strangers' bytes go through `inspector` first."""
