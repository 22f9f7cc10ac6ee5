"""Built-in models: each module or package here answers `make_policy` for the names it knows, but `language`.

`language` is a library that they share: how families of models are spoken to.
"""
