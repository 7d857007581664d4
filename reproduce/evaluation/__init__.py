"""Graders and estimators: `grade` an answer, estimate `pass_at_k`."""

from reproduce.evaluation.graders import Grade, grade
from reproduce.evaluation.pass_at_k import pass_at_k

__all__ = ["Grade", "grade", "pass_at_k"]
