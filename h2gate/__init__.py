"""h2gate: a reverse proxy whose backends speak HTTP/2 only."""

__version__ = "0.1.0.dev0"
