"""What the gate tells: access log, error log."""
