"""`make plan TABLE=2 PROFILE=paper`: estimate what a table costs before any of it starts (`README.md`)."""
