"""The `local` model: transformers and a LoRA adapter on this machine."""
