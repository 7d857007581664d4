"""`make check-gpu`: what no machine without a card can show, in order, in at most 25 minutes."""
