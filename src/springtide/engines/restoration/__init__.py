"""Making damaged faces whole and sharp again."""
