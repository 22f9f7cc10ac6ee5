"""What models say and are told, apart from weights: a library that the model plugins share, no plugin itself.

Tokenizers come in as arguments, and torch never: it serves models that run elsewhere, too.
"""
