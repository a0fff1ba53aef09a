"""Where an exchange meets a backend: exchange, router, rewrite, retry."""
