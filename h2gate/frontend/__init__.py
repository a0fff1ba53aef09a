"""Client bytes to exchanges."""
