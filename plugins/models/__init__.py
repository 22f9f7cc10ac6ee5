"""Built-in models: each module or package here answers `make_policy` for the names it knows."""
