"""What a model still knows: recall from its state, perplexity on text, and what pruning costs of both."""
