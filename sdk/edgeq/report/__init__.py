"""What happened, in numbers: data folders, metrics, evaluation."""
