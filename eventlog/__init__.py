"""Facts, records and one durable file."""
