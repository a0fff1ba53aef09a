"""A child process: owns the hub, boots, accepts, drains, exits."""
