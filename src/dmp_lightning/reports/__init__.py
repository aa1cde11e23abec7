"""What a run leaves for people to read: its record, its table, its verdict and its pictures."""
