"""What the operator wrote: typed frozen model, YAML loader, units."""
