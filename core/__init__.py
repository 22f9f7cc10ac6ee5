"""The contract, the engine and the folds over the log."""
