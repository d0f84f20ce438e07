"""Tensors: the decoder, token batches, value heads, losses, checkpoints."""
