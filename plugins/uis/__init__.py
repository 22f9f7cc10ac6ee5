"""User interfaces: where a person, or a script, meets the session."""
