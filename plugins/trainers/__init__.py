"""Built-in trainers: what turns corrections into a plan, and a plan into steps. No tensors here."""
