"""What is told: runs, cells, their groups, what is compared with what."""
