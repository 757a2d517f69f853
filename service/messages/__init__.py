"""What is said on the wire: fields and bounds, headers, problems, and secrets."""
