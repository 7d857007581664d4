"""Pure tensor functions that losses are made of. They import torch and nothing else, and hold no settings.

Shapes: `_BT` rows x completion tokens, `_B` rows. Log-probabilities and entropies are in nats. A mask is boolean,
True at the tokens that are trained on (loss mask); every other position may hold anything, NaN and inf included.
"""
