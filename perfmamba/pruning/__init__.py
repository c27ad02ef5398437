"""Pruning the state: what each state does, which to keep, and smaller models made of them.

Token batches -> `activity` -> `scores` -> `selection` -> smaller models. Each arrow is a function over frozen
dataclasses; nothing earlier knows what comes later.
"""
