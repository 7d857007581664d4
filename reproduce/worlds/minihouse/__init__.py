"""MiniHouse: small household tasks played on the ALFWorld stepper."""
