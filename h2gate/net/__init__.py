"""The only connected sockets: transport, TLS, deadlines."""
