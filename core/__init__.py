"""What every long job shares: strict configs, run directories, checkpoints, loggers, reports."""
