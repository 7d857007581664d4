"""One file per table: methods x seeds on one task, per profile; and the runner of that grid."""
