"""argv to one module per command; owns the exit codes."""
