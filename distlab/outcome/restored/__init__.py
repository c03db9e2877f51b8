"""What is read back from files and stores, which others may have written."""
