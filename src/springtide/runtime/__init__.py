"""The only code that knows time, chance and tasks."""
