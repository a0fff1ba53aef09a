"""The parent: supervises the workers of one or more generations. No hub, no HTTP, one thread."""

from h2gate.master.supervisor import Master

__all__ = ["Master"]
