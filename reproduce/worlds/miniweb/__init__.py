"""MiniWeb: a seeded closed web with questions, search, a page reader and Python."""
