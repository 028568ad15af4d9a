"""What a programme's home holds, as text in a terminal: mined negatives, training pairs, evaluated queries."""
