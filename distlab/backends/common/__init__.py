"""What several backends need and none owns: memory, the processor, the rate of products."""
