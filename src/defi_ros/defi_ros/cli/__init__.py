"""Subcommands of `defi` that people use beside a running graph, one module each."""
