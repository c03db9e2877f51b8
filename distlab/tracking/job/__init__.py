"""What a job recorded, from the store."""
