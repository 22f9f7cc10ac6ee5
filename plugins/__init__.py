"""Built-in plugins, behind the same public hooks as anyone's."""
