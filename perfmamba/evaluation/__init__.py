"""What a model still knows: recall from its state, perplexity on text, and what pruning costs of both."""

NAN_ANSWERS = "the model answers with NaN: its weights are broken, or its dtype is too narrow"
"""What is told of a model that gives NaN where a measure needs numbers."""
