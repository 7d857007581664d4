"""`make rehearse`: a table's profile paper with everything but its size, on this machine's processor."""
