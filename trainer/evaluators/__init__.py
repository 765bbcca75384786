"""What solved rows are worth: scores by evaluator."""
