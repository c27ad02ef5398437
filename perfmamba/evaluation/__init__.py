"""What a model still knows: recall from its state, perplexity on text, and what pruning costs of both."""

NOT_FINITE = (
    "the model answers with numbers that are not finite (NaN or infinity): "
    "its weights are broken, or its dtype is too narrow"
)
"""What is told of a model that gives such numbers where a measure needs others."""
