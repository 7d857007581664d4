"""The ledger of the papers' claims: definitions, doses, measurements, and verdicts that follow from them by rule."""
