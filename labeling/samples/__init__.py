"""Training samples for trainers: read from Parquet or from a topic, in batches."""
