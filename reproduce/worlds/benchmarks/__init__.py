"""Public question sets with search and Python: loaders, tools and the task."""
