"""What somebody else wrote, read within bounds: JSON text, arrays, and files and folders that were given away."""
