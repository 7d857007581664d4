"""ScienceWorld: the real simulator in pooled Java processes."""
