"""What every long run shares: progress on a terminal, signals and limits of time."""
