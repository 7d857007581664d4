"""Pages to look at trees and episodes, from a run's records of tokens (`reproduce.runs.token_records`)."""
