"""What somebody else wrote, read within bounds: JSON text, and files and folders that were given away."""
