"""`make preflight`: all that a table's runs need from outside the repository, asked before anything is loaded."""
