"""Persistent HTTP/2 connections: endpoint, balancer, pool, dial, connection."""
